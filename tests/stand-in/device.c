// The one device with its context, and what errors are called.

#include "driver.h"

pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
int retains;
char context;
__thread void *current;

DRIVER cuInit(unsigned flags) {
  ENTER;
  if (flags) return INVALID_VALUE;
  const char *memory = getenv("STAND_IN_MEMORY"), *trace = getenv("STAND_IN_TRACE");
  if (!total) total = memory ? strtoull(memory, NULL, 10) : 0;
  if (!total) total = (size_t)16 << 30;
  traced = trace && !strcmp(trace, "1");
  return SUCCESS;
}

DRIVER cuDriverGetVersion(int *version) {
  *version = 13000;
  return SUCCESS;
}

DRIVER cuDeviceGetCount(int *count) {
  int device = 0;
  ENTER_DEVICE;
  *count = 1;
  return SUCCESS;
}

DRIVER cuDeviceGet(int *found, int device) {
  ENTER_DEVICE;
  *found = device;
  return SUCCESS;
}

DRIVER cuDeviceGetName(char *name, int length, int device) {
  ENTER_DEVICE;
  if (length < 1) return INVALID_VALUE;
  snprintf(name, (size_t)length, "a stand-in for a GPU");
  return SUCCESS;
}

DRIVER cuDeviceGetUuid_v2(unsigned char *bytes, int device) {
  ENTER_DEVICE;
  memcpy(bytes, "stand-in for GPU", 16);
  return SUCCESS;
}

DRIVER cuDeviceTotalMem_v2(size_t *bytes, int device) {
  ENTER_DEVICE;
  *bytes = total;
  return SUCCESS;
}

// Those of an H100.
DRIVER cuDeviceGetAttribute(int *value, int attribute, int device) {
  static const struct { int attribute, value; } known[] = {
      {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},           // threads of a block, in each direction
      {5, 0x7fffffff}, {6, 65535}, {7, 65535},            // blocks
      {8, 48 << 10}, {81, 228 << 10}, {97, MOST_SHARED},  // shared memory of a block, a multiprocessor, if asked for
      {10, 32}, {12, 65536}, {13, 1980000}, {16, 132}, {39, 2048},  // warps, registers, clock, multiprocessors
      {41, 1}, {75, 9}, {76, 0}, {115, 1},  // one space of addresses, compute capability, pools of memory
  };
  ENTER_DEVICE;
  *value = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].attribute == attribute) *value = known[i].value;
  return SUCCESS;
}

DRIVER cuDevicePrimaryCtxRetain(void **handle, int device) {
  ENTER_DEVICE;
  retains++;
  *handle = &context;
  return SUCCESS;
}

DRIVER cuDevicePrimaryCtxRelease_v2(int device) {
  ENTER_DEVICE;
  if (!retains) return refuse(INVALID_CONTEXT, "a context is released that is not retained");
  retains--;
  return SUCCESS;
}

DRIVER cuCtxGetCurrent(void **handle) {
  ENTER;
  *handle = current;
  return total ? SUCCESS : NOT_INITIALIZED;
}

DRIVER cuCtxSetCurrent(void *handle) {
  ENTER;
  if (handle && handle != &context) return refuse(INVALID_CONTEXT, "%p is no context", handle);
  current = handle;
  return SUCCESS;
}

DRIVER cuCtxGetDevice(int *device) {
  ENTER_CONTEXT;
  *device = 0;
  return SUCCESS;
}

DRIVER cuCtxSetFlags(unsigned flags) {
  (void)flags;
  ENTER_CONTEXT;
  return SUCCESS;
}

DRIVER cuCtxSynchronize(void) {
  ENTER_CONTEXT;
  drain_all();
  return failure;
}


#define RESULT(NAME, CODE, TEXT) {CODE, "CUDA_ERROR_" #NAME, TEXT},
static const struct { int code; const char *name, *text; } results[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"}, RESULTS(RESULT)};
#undef RESULT

DRIVER cuGetErrorName(int code, const char **name) {
  *name = NULL;
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    if (results[i].code == code) *name = results[i].name;
  return *name ? SUCCESS : INVALID_VALUE;
}

DRIVER cuGetErrorString(int code, const char **text) {
  *text = NULL;
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    if (results[i].code == code) *text = results[i].text;
  return *text ? SUCCESS : INVALID_VALUE;
}
