// Memory of the device, taken at once and given back when its stream is there; and memory that stays in its place.

#include "driver.h"

#include <stdarg.h>

#define MOST_RETAINED ((size_t)2 << 30)

size_t total, live, most;
static size_t retained;  // given back, but not freed
__thread size_t notes;
static struct block **blocks;
static size_t block_count;
static struct pinned *all_pinned;
static char pool;
__thread const void *noted[MOST_ARGUMENTS];

int refuse(int result, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  flockfile(stderr);
  fputs("stand-in: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  funlockfile(stderr);
  va_end(arguments);
  return result;
}

void *grown(void *array, size_t count, size_t size) {
  if (count & (count - 1)) return array;
  array = realloc(array, (count ? 2 * count : 1) * size);
  if (!array) abort();
  return array;
}

void *room(size_t bytes) {
  void *place = calloc(1, bytes);
  if (!place) abort();
  return place;
}

// How many blocks begin here or before.
static size_t blocks_to(const void *place) {
  size_t low = 0, high = block_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (blocks[middle]->bytes <= (const unsigned char *)place) low = middle + 1;
    else high = middle;
  }
  return low;
}

struct block *block_at(const void *place) {
  size_t at = blocks_to(place);
  if (!at || (uintptr_t)place - (uintptr_t)blocks[at - 1]->bytes >= blocks[at - 1]->size) return NULL;
  return blocks[at - 1];
}

void note(const void *place) {
  if (!draining && notes < MOST_ARGUMENTS) noted[notes++] = place;
}

int holds(const void *place, size_t bytes, const char *who) {
  struct block *block = block_at(place);
  if (!block) return refuse(0, "%s wants %zu bytes at %p, which is no memory of the device", who, bytes, place);
  size_t before = (size_t)((const unsigned char *)place - block->bytes);
  if (bytes > block->size - before)
    return refuse(0, "%s wants %zu bytes at %p, %zu after the start of a block of %zu bytes", who, bytes, place,
                  before, block->size);
  // what was queued before may still use it
  if (block->given_back && !draining)
    return refuse(0, "%s wants %zu bytes at %p, which are given back", who, bytes, place);
  note(place);
  return 1;
}

int stand_in_holds(const void *place, size_t bytes, const char *who) {
  ENTER;
  return !bytes || holds(place, bytes, who);
}

static void release(const void *what) {
  struct block *block = *(struct block *const *)what;
  retained -= block->size;
  memset(block->bytes, 0xff, block->size);
  __asm__ volatile("" : : "r"(block->bytes) : "memory");  // else the compiler leaves it out
  if (block->users) {
    // it stays, for that work to find nothing of use
    failure = refuse(ILLEGAL_ADDRESS, "memory at %p is given back, and another stream has not done what uses it",
                     (void *)block->bytes);
    return;
  }
  size_t at = blocks_to(block->bytes);
  memmove(blocks + at - 1, blocks + at, (block_count - at) * sizeof *blocks);
  block_count--;
  free(block->bytes);
  free(block);
}

static int take(uint64_t *place, size_t bytes) {
  if (!place || !bytes) return INVALID_VALUE;
  if (bytes > total - live) return OUT_OF_MEMORY;
  unsigned char *memory = aligned_alloc(256, (bytes + 255) & ~(size_t)255);
  if (!memory) return OUT_OF_MEMORY;
  memset(memory, 0xff, bytes);
  struct block *block = room(sizeof *block);
  *block = (struct block){.bytes = memory, .size = bytes};
  size_t at = blocks_to(memory);
  blocks = grown(blocks, block_count, sizeof *blocks);
  memmove(blocks + at + 1, blocks + at, (block_count - at) * sizeof *blocks);
  blocks[at] = block;
  block_count++;
  live += bytes;
  if (live > most) most = live;
  *place = (uintptr_t)memory;
  return SUCCESS;
}

struct pinned *pinned_at(const void *place) {
  struct pinned *pinned = all_pinned;
  while (pinned && (uintptr_t)place - (uintptr_t)pinned->bytes >= pinned->size) pinned = pinned->next;
  return pinned;
}

static int give_back(uint64_t place, void *handle, const char *who) {
  struct block *block = block_at((void *)place);
  struct stream *stream = stream_of(handle, who);
  if (!stream) return INVALID_HANDLE;
  if (!block || block->bytes != (void *)place)
    return refuse(INVALID_VALUE, "%s is given %p, which is no block of memory", who, (void *)place);
  if (block->given_back) return refuse(INVALID_VALUE, "%s is given %p a second time", who, (void *)place);
  block->given_back = 1;
  live -= block->size;
  retained += block->size;
  *(struct block **)add(stream, release, sizeof block) = block;
  if (retained > MOST_RETAINED) drain_all();
  return SUCCESS;
}

DRIVER cuMemAllocAsync(uint64_t *place, size_t bytes, void *handle) {
  ENTER_CONTEXT;
  return stream_of(handle, __func__) ? take(place, bytes) : INVALID_HANDLE;
}

DRIVER cuMemAlloc_v2(uint64_t *place, size_t bytes) {
  ENTER_CONTEXT;
  return take(place, bytes);
}

DRIVER cuMemFreeAsync(uint64_t place, void *handle) {
  ENTER_CONTEXT;
  return give_back(place, handle, __func__);
}

// Waits for all streams first, as the driver does.
DRIVER cuMemFree_v2(uint64_t place) {
  ENTER_CONTEXT;
  drain_all();
  if (!place) return SUCCESS;
  int result = give_back(place, NULL, __func__);
  drain_default();
  return result;
}

DRIVER cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
  ENTER_CONTEXT;
  *free_bytes = total - live;
  *total_bytes = total;
  return SUCCESS;
}

DRIVER cuMemHostAlloc(void **place, size_t bytes, unsigned flags) {
  ENTER_CONTEXT;
  if (!place || !bytes || flags > 7) return INVALID_VALUE;
  unsigned char *memory = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
  if (!memory) return OUT_OF_MEMORY;
  memset(memory, 0xff, bytes);
  struct pinned *pinned = room(sizeof *pinned);
  *pinned = (struct pinned){.next = all_pinned, .bytes = memory, .size = bytes};
  all_pinned = pinned;
  *place = memory;
  return SUCCESS;
}

DRIVER cuMemFreeHost(void *place) {
  ENTER_CONTEXT;
  struct pinned **link = &all_pinned;
  while (*link && (*link)->bytes != place) link = &(*link)->next;
  struct pinned *pinned = *link;
  if (!pinned) return refuse(INVALID_VALUE, "%s is given %p, which is no pinned memory", __func__, place);
  if (pinned->pending) {
    refuse(0, "pinned memory is freed while a copy of it is pending");
    abort();
  }
  *link = pinned->next;
  free(pinned->bytes);
  free(pinned);
  return SUCCESS;
}

DRIVER cuDeviceGetDefaultMemPool(void **handle, int device) {
  ENTER_DEVICE;
  *handle = &pool;
  return SUCCESS;
}

// Attribute 4 is how much memory the pool keeps; nothing here depends on it.
DRIVER cuMemPoolSetAttribute(void *handle, int attribute, void *value) {
  (void)value;
  ENTER;
  if (handle != &pool) return refuse(INVALID_HANDLE, "%p is no pool", handle);
  return attribute == 4 ? SUCCESS : refuse(INVALID_VALUE, "%s is given attribute %d", __func__, attribute);
}

// Attribute 8 is the most memory that was taken.
DRIVER cuMemPoolGetAttribute(void *handle, int attribute, void *value) {
  ENTER;
  if (handle != &pool) return refuse(INVALID_HANDLE, "%p is no pool", handle);
  if (attribute != 8) return refuse(INVALID_VALUE, "%s is asked for attribute %d", __func__, attribute);
  *(uint64_t *)value = most;
  return SUCCESS;
}
