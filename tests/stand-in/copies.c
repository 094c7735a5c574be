// Copies and fills. What lies in pinned memory is read and written when the queue is there, as on a GPU.

#include "driver.h"

enum direction { TO_DEVICE, TO_HOST, WITHIN };

struct copied {
  void *to;
  const void *from;
  size_t bytes;
  void *staged;
  struct pinned *pinned;
};

static void do_copy(const void *what) {
  const struct copied *copied = what;
  memmove(copied->to, copied->from, copied->bytes);
  free(copied->staged);
  if (copied->pinned) copied->pinned->pending--;
}

static int copy(enum direction direction, void *to, const void *from, size_t bytes, void *handle, const char *who) {
  struct stream *stream = stream_of(handle, who);
  const void *host = direction == TO_DEVICE ? from : to;
  struct pinned *pinned = NULL;
  void *staged = NULL;
  if (!stream) return INVALID_HANDLE;
  if (!bytes) return SUCCESS;
  if (direction != TO_HOST && !holds(to, bytes, who)) return INVALID_VALUE;
  if (direction != TO_DEVICE && !holds(from, bytes, who)) return INVALID_VALUE;
  if (direction != WITHIN) {
    if (!host) return INVALID_VALUE;
    pinned = pinned_at(host);
    if (pinned && bytes > pinned->size - (size_t)((const unsigned char *)host - pinned->bytes))
      return refuse(INVALID_VALUE, "%s wants %zu bytes at %p, more than are pinned there", who, bytes, host);
  }
  if (direction == TO_DEVICE && !pinned) from = staged = memcpy(room(bytes), from, bytes);
  if (pinned) pinned->pending++;
  struct copied *copied = add(stream, do_copy, sizeof *copied);
  *copied = (struct copied){to, from, bytes, staged, pinned};
  if (direction != TO_HOST || pinned) return SUCCESS;
  drain(stream, stream->queued);
  return failure;
}

DRIVER cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *handle) {
  ENTER_CONTEXT;
  return copy(TO_DEVICE, (void *)to, from, bytes, handle, __func__);
}

DRIVER cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *handle) {
  ENTER_CONTEXT;
  return copy(TO_HOST, to, (void *)from, bytes, handle, __func__);
}

DRIVER cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *handle) {
  ENTER_CONTEXT;
  return copy(WITHIN, (void *)to, (void *)from, bytes, handle, __func__);
}

struct filled {
  void *to;
  int value;
  size_t bytes;
};

static void do_fill(const void *what) {
  const struct filled *filled = what;
  memset(filled->to, filled->value, filled->bytes);
}

DRIVER cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *handle) {
  ENTER_CONTEXT;
  FIND(stream, stream_of(handle, __func__));
  if (!bytes) return SUCCESS;
  if (!holds((void *)to, bytes, __func__)) return INVALID_VALUE;
  struct filled *filled = add(stream, do_fill, sizeof *filled);
  *filled = (struct filled){(void *)to, value, bytes};
  return SUCCESS;
}
