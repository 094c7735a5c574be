// Modules, read from the text of PTX for the sizes of what kernels are given, and launches.

#include "driver.h"

#include <ctype.h>

#define MOST_SHARED (48 << 10)  // what a launch may have without asking first

struct function {
  char *name;
  size_t count, sizes[MOST_ARGUMENTS];
  stand_in_kernel kernel;
};

// Stays when it is unloaded: launches that wait know its functions.
struct module {
  struct module *next;
  struct function *functions;
  size_t count;
  int unloaded;
};

int traced;
static struct module *modules;

#define BLANKS " \t\r\n"

// Reads the parameters between two parentheses, each a type, what may be said of it, a name, and perhaps a length;
// returns whether all have a size.
static int read_parameters(struct function *function, const char *from, const char *end) {
  size_t size = 0;
  for (size_t length; (from += strspn(from, BLANKS ",")) < end; from += length) {
    length = strcspn(from, BLANKS ",)");
    if (length == 6 && !strncmp(from, ".param", 6)) {
      if (function->count == MOST_ARGUMENTS) return 0;
      function->count++;
    } else if (!function->count) {
      return 0;
    } else if (from[0] == '.') {
      // .u64 and the like; the others are .ptr, .align, .global
      if (!strchr("busf", from[1]) || !isdigit((unsigned char)from[2])) continue;
      size = strtoul(from + 2, NULL, 10) / 8;
      function->sizes[function->count - 1] = size;
    } else {
      const char *bracket = memchr(from, '[', length);
      if (bracket) function->sizes[function->count - 1] = size * strtoul(bracket + 1, NULL, 10);
    }
  }
  for (size_t i = 0; i < function->count; i++)
    if (!function->sizes[i] || function->sizes[i] > 4096) return 0;
  return 1;
}

// Keeps the names of a text's kernels, and the sizes of their arguments.
DRIVER cuModuleLoadData(void **handle, const void *image) {
  ENTER_CONTEXT;
  const char *at = image;
  if (!handle || !at) return INVALID_VALUE;
  if (!strstr(at, ".version")) return refuse(INVALID_PTX, "a module is no text of PTX");
  struct module *module = room(sizeof *module);
  module->next = modules;
  modules = module;
  while ((at = strstr(at, ".entry"))) {
    at += 6;
    if (!isspace((unsigned char)*at)) continue;
    at += strspn(at, BLANKS);
    module->functions = grown(module->functions, module->count, sizeof *module->functions);
    struct function *function = module->functions + module->count++;
    size_t length = strcspn(at, BLANKS "(){};");
    *function = (struct function){.name = strndup(at, length)};
    at += length;
    at += strspn(at, BLANKS);
    const char *end = *at == '(' ? strchr(at, ')') : at;
    if (*at == '(' && (!end || !read_parameters(function, at + 1, end))) {
      module->unloaded = 1;
      return refuse(INVALID_PTX, "the parameters of %s are not understood", function->name);
    }
    at = end;
  }
  *handle = module;
  return SUCCESS;
}

static struct module *module_of(const void *handle, const char *who) {
  struct module *module = modules;
  while (module && (module != handle || module->unloaded)) module = module->next;
  if (!module) refuse(0, "%s is given %p, which is no module", who, handle);
  return module;
}

static struct function *function_of(void *handle, const char *who) {
  for (struct module *module = modules; module; module = module->next) {
    uintptr_t apart = (uintptr_t)handle - (uintptr_t)module->functions;
    if (!module->unloaded && apart < module->count * sizeof(struct function) && apart % sizeof(struct function) == 0)
      return handle;
  }
  refuse(0, "%s is given %p, which is no kernel", who, handle);
  return NULL;
}

DRIVER cuModuleUnload(void *handle) {
  ENTER_CONTEXT;
  FIND(module, module_of(handle, __func__));
  module->unloaded = 1;
  return SUCCESS;
}

DRIVER cuModuleGetFunction(void **found, void *handle, const char *name) {
  ENTER_CONTEXT;
  FIND(module, module_of(handle, __func__));
  if (!found || !name) return INVALID_VALUE;
  for (size_t i = 0; i < module->count; i++)
    if (!strcmp(module->functions[i].name, name)) {
      *found = module->functions + i;
      return SUCCESS;
    }
  return NOT_FOUND;
}

// The arguments lie one after the other, each from a multiple of 16 bytes on.
struct launch {
  const struct function *function;
  unsigned grid[3], block[3];
  _Alignas(16) unsigned char values[];
};
#define SPACE(BYTES) (((BYTES) + 15) & ~(size_t)15)

static void do_launch(const void *what) {
  const struct launch *launch = what;
  void *arguments[MOST_ARGUMENTS];
  const unsigned char *value = launch->values;
  for (size_t i = 0; i < launch->function->count; value += SPACE(launch->function->sizes[i++]))
    arguments[i] = (void *)value;
  launch->function->kernel(launch->grid, launch->block, arguments);
}

DRIVER cuLaunchKernel(void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, void *handle, void **arguments,
                      void **extra) {
  ENTER_CONTEXT;
  FIND(function, function_of(kernel, __func__));
  FIND(stream, stream_of(handle, __func__));
  size_t bytes = 0;
  if (extra) return NOT_SUPPORTED;
  if (!grid_x || !grid_y || !grid_z || grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535) return INVALID_VALUE;
  if (!block_x || !block_y || !block_z || block_x > 1024 || block_y > 1024 || block_z > 64) return INVALID_VALUE;
  if (block_x * block_y * block_z > 1024 || shared > MOST_SHARED) return INVALID_VALUE;
  if (function->count && !arguments) return INVALID_VALUE;
  if (!function->kernel) function->kernel = stand_in_find_own(function->name);
  if (!function->kernel) function->kernel = stand_in_find_candle(function->name);
  if (!function->kernel) return refuse(NOT_FOUND, "no kernel %s", function->name);
  for (size_t i = 0; i < function->count; i++) {
    bytes += SPACE(function->sizes[i]);
    if (function->sizes[i] != sizeof(void *)) continue;
    // an address, if it is one of the device's
    void *place;
    memcpy(&place, arguments[i], sizeof place);
    struct block *block = block_at(place);
    if (block && block->given_back)
      return refuse(INVALID_VALUE, "%s is given memory at %p, which is given back", function->name, place);
    if (block) note(place);
  }
  if (traced) fprintf(stderr, "%s\n", function->name);
  struct launch *launch = add(stream, do_launch, sizeof *launch + bytes);
  *launch = (struct launch){function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}};
  unsigned char *value = launch->values;
  for (size_t i = 0; i < function->count; value += SPACE(function->sizes[i++]))
    memcpy(value, arguments[i], function->sizes[i]);
  return SUCCESS;
}
