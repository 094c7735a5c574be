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

// Attribute 115 is whether there are pools of memory; nobody asks for another.
DRIVER cuDeviceGetAttribute(int *value, int attribute, int device) {
  ENTER_DEVICE;
  if (attribute != 115) return refuse(INVALID_VALUE, "%s is asked for attribute %d", __func__, attribute);
  *value = 1;
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

DRIVER cuCtxSynchronize(void) {
  ENTER_CONTEXT;
  drain_all();
  return failure;
}

#define RESULT(NAME, CODE, TEXT) {CODE, TEXT},
static const struct { int code; const char *text; } results[] = {{SUCCESS, "no error"}, RESULTS(RESULT)};
#undef RESULT

DRIVER cuGetErrorString(int code, const char **text) {
  *text = NULL;
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    if (results[i].code == code) *text = results[i].text;
  return *text ? SUCCESS : INVALID_VALUE;
}
