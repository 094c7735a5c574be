// The driver's part of the stand-in for a GPU: memory, streams that are queues, events, and launches of kernels.
//
// What a stream is given is done as late as a GPU may do it, so that a program that does not wait, or that lets
// streams race, sees wrong numbers. Freed memory and fresh memory hold what is not a number.

#define _GNU_SOURCE
#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stand_in.h"

#define DRIVER __attribute__((visibility("default"))) int

#define RESULTS(RESULT)                                                       \
  RESULT(INVALID_VALUE, 1, "invalid argument")                                \
  RESULT(OUT_OF_MEMORY, 2, "out of memory")                                   \
  RESULT(NOT_INITIALIZED, 3, "initialization error")                          \
  RESULT(INVALID_DEVICE, 101, "invalid device ordinal")                       \
  RESULT(INVALID_CONTEXT, 201, "invalid device context")                      \
  RESULT(INVALID_PTX, 218, "a PTX JIT compilation failed")                    \
  RESULT(INVALID_HANDLE, 400, "invalid resource handle")                      \
  RESULT(NOT_FOUND, 500, "named symbol not found")                            \
  RESULT(NOT_READY, 600, "device not ready")                                  \
  RESULT(ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")    \
  RESULT(NOT_SUPPORTED, 801, "operation not supported")
#define RESULT(NAME, CODE, TEXT) NAME = CODE,
enum { SUCCESS, RESULTS(RESULT) };
#undef RESULT

// Work that waits in a stream, and the blocks of memory that it is known to use.
struct entry {
  struct entry *next;
  void (*work)(const void *);
  void *what;
  size_t uses;
  struct block *used[];
};

// Entry number n was done when `done` is n. A stream that was destroyed stays, with what waits in it.
struct stream {
  struct entry *first, **last;
  uint64_t queued, done;
  int destroyed;
};

struct event {
  struct stream *stream;  // of the last record, which is entry `position` there
  uint64_t position;
  struct timespec when;
  int timed, destroyed;
};

// Memory of the device. It is given back when the program says so, and freed when the stream is there.
struct block {
  unsigned char *bytes;
  size_t size, users;
  int given_back;
};

struct pinned {
  struct pinned *next;
  unsigned char *bytes;
  size_t size, pending;
};

#define MOST_ARGUMENTS 64
#define MOST_SHARED (227 << 10)
struct function {
  char *name;
  size_t count, sizes[MOST_ARGUMENTS];
  int shared;
  stand_in_kernel kernel;
};

// Stays when it is unloaded: launches that wait know its functions.
struct module {
  struct module *next;
  struct function *functions;
  size_t count;
  int unloaded;
};

#define MOST_QUEUED 20000
#define MOST_RETAINED ((size_t)2 << 30)
#define STREAMS 0x5000000000  // handles are numbers from here on, never used twice
#define EVENTS 0x6000000000

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int traced, retains, draining, failure;
static char context, pool;
static size_t total, live, most, retained;
static uint64_t threshold;
static struct block **blocks;
static struct stream **streams;
static struct event *events;
static size_t block_count, stream_count, event_count;
static struct pinned *all_pinned;
static struct module *modules;
static __thread void *current;
static __thread struct stream *own;
static __thread const void *noted[MOST_ARGUMENTS];  // memory that the next entry of this thread uses
static __thread size_t notes;

static void leave(int *held) {
  (void)held;
  pthread_mutex_unlock(&lock);
}

#define ENTER int held __attribute__((cleanup(leave), unused)) = pthread_mutex_lock(&lock)
#define ENTER_CONTEXT                                                                                \
  ENTER;                                                                                             \
  notes = 0;                                                                                         \
  if (!current || !retains) return refuse(INVALID_CONTEXT, "%s is called without a context", __func__)

#define FIND(KIND, FOUND)     \
  struct KIND *KIND = FOUND;  \
  if (!KIND) return INVALID_HANDLE

__attribute__((format(printf, 2, 3))) static int refuse(int result, const char *format, ...) {
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

// An array with room for one more; rooms are powers of two.
static void *grown(void *array, size_t count, size_t size) {
  if (count & (count - 1)) return array;
  array = realloc(array, (count ? 2 * count : 1) * size);
  if (!array) abort();
  return array;
}

static void *room(size_t bytes) {
  void *place = calloc(1, bytes);
  if (!place) abort();
  return place;
}

// ---- memory ----

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

static struct block *block_at(const void *place) {
  size_t at = blocks_to(place);
  if (!at || (uintptr_t)place - (uintptr_t)blocks[at - 1]->bytes >= blocks[at - 1]->size) return NULL;
  return blocks[at - 1];
}

static void note(const void *place) {
  if (!draining && notes < MOST_ARGUMENTS) noted[notes++] = place;
}

static int holds(const void *place, size_t bytes, const char *who) {
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

static struct pinned *pinned_at(const void *place) {
  struct pinned *pinned = all_pinned;
  while (pinned && (uintptr_t)place - (uintptr_t)pinned->bytes >= pinned->size) pinned = pinned->next;
  return pinned;
}

// ---- streams ----

static struct stream *new_stream(void) {
  struct stream *stream = room(sizeof *stream);
  stream->last = &stream->first;
  streams = grown(streams, stream_count, sizeof *streams);
  streams[stream_count++] = stream;
  return stream;
}

// The first of all streams is the default one; each thread has one of its own.
static struct stream *stream_of(void *handle, const char *who) {
  uintptr_t number = (uintptr_t)handle;
  if (!stream_count) new_stream();
  if (number <= 1) return streams[0];
  if (number == 2) return own ? own : (own = new_stream());
  if (number > STREAMS && number - STREAMS < stream_count && !streams[number - STREAMS]->destroyed)
    return streams[number - STREAMS];
  refuse(0, "%s is given %p, which is no stream", who, handle);
  return NULL;
}

static void drain(struct stream *stream, uint64_t until) {
  draining++;
  while (stream->done < until) {
    struct entry *entry = stream->first;
    stream->first = entry->next;
    if (!stream->first) stream->last = &stream->first;
    entry->work(entry->what);
    for (size_t i = 0; i < entry->uses; i++) entry->used[i]->users--;
    free(entry);
    stream->done++;
  }
  draining--;
}

static void drain_all(void) {
  for (size_t i = 0; i < stream_count; i++) drain(streams[i], streams[i]->queued);
}

// Returns where to write what the work is; it uses the blocks that this thread has noted.
static void *add(struct stream *stream, void (*work)(const void *), size_t bytes) {
  size_t head = (sizeof(struct entry) + notes * sizeof(struct block *) + 15) & ~(size_t)15;
  if (stream->queued - stream->done >= MOST_QUEUED && !draining) drain(stream, stream->queued);
  struct entry *entry = room(head + bytes);
  entry->work = work;
  entry->what = (unsigned char *)entry + head;
  for (size_t i = 0; i < notes; i++) {
    struct block *block = block_at(noted[i]);
    if (!block || block->given_back) continue;
    entry->used[entry->uses++] = block;
    block->users++;
  }
  notes = 0;
  *stream->last = entry;
  stream->last = &entry->next;
  stream->queued++;
  return entry->what;
}

void stand_in_later(void *handle, void (*work)(const void *), const void *what, size_t bytes) {
  ENTER;
  struct stream *stream = stream_of(handle, __func__);
  if (stream) memcpy(add(stream, work, bytes), what, bytes);
  else failure = INVALID_HANDLE;
}

DRIVER cuStreamCreate(void **handle, unsigned flags) {
  ENTER_CONTEXT;
  if (!handle || flags > 1) return INVALID_VALUE;
  if (!stream_count) new_stream();
  *handle = (void *)(STREAMS + stream_count);
  new_stream();
  return SUCCESS;
}

DRIVER cuStreamDestroy_v2(void *handle) {
  ENTER_CONTEXT;
  struct stream *stream = stream_of(handle, __func__);
  if (!stream || (uintptr_t)handle <= 2) return INVALID_HANDLE;
  stream->destroyed = 1;
  return SUCCESS;
}

DRIVER cuStreamSynchronize(void *handle) {
  ENTER_CONTEXT;
  FIND(stream, stream_of(handle, __func__));
  drain(stream, stream->queued);
  return failure;
}

DRIVER cuStreamQuery(void *handle) {
  ENTER_CONTEXT;
  FIND(stream, stream_of(handle, __func__));
  return stream->done < stream->queued ? NOT_READY : failure;
}

DRIVER cuStreamIsCapturing(void *handle, int *status) {
  ENTER_CONTEXT;
  if (!stream_of(handle, __func__)) return INVALID_HANDLE;
  *status = 0;
  return SUCCESS;
}

// ---- events ----

static struct event *event_of(void *handle, const char *who) {
  uintptr_t number = (uintptr_t)handle;
  if (number >= EVENTS && number - EVENTS < event_count && !events[number - EVENTS].destroyed)
    return events + (number - EVENTS);
  refuse(0, "%s is given %p, which is no event", who, handle);
  return NULL;
}

static int is_done(const struct event *event) {
  return !event->stream || event->stream->done >= event->position;
}

// A place in a stream, and the event that remembers it.
struct recording {
  struct stream *stream;
  uint64_t position;
  size_t event;
};

static void stamp(const void *what) {
  const struct recording *recording = what;
  struct event *event = events + recording->event;
  // unless it was recorded again
  if (event->stream == recording->stream && event->position == recording->position)
    clock_gettime(CLOCK_MONOTONIC, &event->when);
}

static void wait_for(const void *what) {
  const struct recording *recording = what;
  drain(recording->stream, recording->position);
}

DRIVER cuEventCreate(void **handle, unsigned flags) {
  ENTER_CONTEXT;
  if (!handle) return INVALID_VALUE;
  *handle = (void *)(EVENTS + event_count);
  events = grown(events, event_count, sizeof *events);
  events[event_count++] = (struct event){.timed = !(flags & 2)};
  return SUCCESS;
}

DRIVER cuEventDestroy_v2(void *handle) {
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  event->destroyed = 1;
  return SUCCESS;
}

DRIVER cuEventRecord(void *handle, void *stream_handle) {
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  FIND(stream, stream_of(stream_handle, __func__));
  struct recording *recording = add(stream, stamp, sizeof *recording);
  *recording = (struct recording){stream, stream->queued, (size_t)(event - events)};
  event->stream = stream;
  event->position = stream->queued;
  return SUCCESS;
}

DRIVER cuStreamWaitEvent(void *stream_handle, void *handle, unsigned flags) {
  (void)flags;
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  FIND(stream, stream_of(stream_handle, __func__));
  if (!is_done(event))
    *(struct recording *)add(stream, wait_for, sizeof(struct recording)) =
        (struct recording){event->stream, event->position, 0};
  return SUCCESS;
}

DRIVER cuEventSynchronize(void *handle) {
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  if (event->stream) drain(event->stream, event->position);
  return failure;
}

DRIVER cuEventQuery(void *handle) {
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  return is_done(event) ? failure : NOT_READY;
}

DRIVER cuEventElapsedTime_v2(float *milliseconds, void *from, void *to) {
  ENTER_CONTEXT;
  struct event *start = event_of(from, __func__), *end = event_of(to, __func__);
  if (!start || !end || !start->timed || !end->timed || !start->stream || !end->stream) return INVALID_HANDLE;
  if (!is_done(start) || !is_done(end)) return NOT_READY;
  *milliseconds = (float)((double)(end->when.tv_sec - start->when.tv_sec) * 1e3 +
                          (double)(end->when.tv_nsec - start->when.tv_nsec) * 1e-6);
  return SUCCESS;
}

// ---- the device and its context ----

#define ENTER_DEVICE                      \
  ENTER;                                  \
  if (!total) return NOT_INITIALIZED;     \
  if (device) return INVALID_DEVICE

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

DRIVER cuDeviceGetDefaultMemPool(void **handle, int device) {
  ENTER_DEVICE;
  *handle = &pool;
  return SUCCESS;
}

// Attributes 1 to 3 say how memory is used again, 4 how much is kept; 5 and 7 are the memory that is taken, 6 and 8
// the most that was.
DRIVER cuMemPoolSetAttribute(void *handle, int attribute, void *value) {
  ENTER;
  if (handle != &pool) return refuse(INVALID_HANDLE, "%p is no pool", handle);
  if (attribute >= 1 && attribute <= 3) return SUCCESS;
  if (attribute == 4) threshold = *(uint64_t *)value;
  else if ((attribute == 6 || attribute == 8) && !*(uint64_t *)value) most = live;
  else return INVALID_VALUE;
  return SUCCESS;
}

DRIVER cuMemPoolGetAttribute(void *handle, int attribute, void *value) {
  ENTER;
  if (handle != &pool) return refuse(INVALID_HANDLE, "%p is no pool", handle);
  if (attribute < 1 || attribute > 8) return INVALID_VALUE;
  if (attribute <= 3) *(int *)value = 1;
  else *(uint64_t *)value = attribute == 4 ? threshold : attribute % 2 ? live : most;
  return SUCCESS;
}

DRIVER cuMemPoolTrimTo(void *handle, size_t bytes) {
  (void)bytes;
  ENTER;
  return handle == &pool ? SUCCESS : refuse(INVALID_HANDLE, "%p is no pool", handle);
}

// ---- memory is taken and given back ----

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
  drain(streams[0], streams[0]->queued);
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

// ---- copies ----

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

// What returns only when it is done is work of the default stream.
static int finish(int result) {
  if (result) return result;
  drain(streams[0], streams[0]->queued);
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

DRIVER cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
  ENTER_CONTEXT;
  return finish(copy(TO_DEVICE, (void *)to, from, bytes, NULL, __func__));
}

DRIVER cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
  ENTER_CONTEXT;
  return finish(copy(TO_HOST, to, (void *)from, bytes, NULL, __func__));
}

DRIVER cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
  ENTER_CONTEXT;
  return finish(copy(WITHIN, (void *)to, (void *)from, bytes, NULL, __func__));
}

struct filled {
  unsigned char *to;
  unsigned value;
  size_t count, size;
};

static void do_fill(const void *what) {
  const struct filled *filled = what;
  for (size_t i = 0; i < filled->count; i++) memcpy(filled->to + i * filled->size, &filled->value, filled->size);
}

static int fill(uint64_t to, unsigned value, size_t count, size_t size, void *handle, const char *who) {
  struct stream *stream = stream_of(handle, who);
  if (!stream) return INVALID_HANDLE;
  if (!count) return SUCCESS;
  if (to % size || count > SIZE_MAX / size || !holds((void *)to, count * size, who)) return INVALID_VALUE;
  struct filled *filled = add(stream, do_fill, sizeof *filled);
  *filled = (struct filled){(void *)to, value, count, size};
  return SUCCESS;
}

DRIVER cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void *handle) {
  ENTER_CONTEXT;
  return fill(to, value, count, 1, handle, __func__);
}

DRIVER cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void *handle) {
  ENTER_CONTEXT;
  return fill(to, value, count, 4, handle, __func__);
}

DRIVER cuMemsetD8_v2(uint64_t to, unsigned char value, size_t count) {
  ENTER_CONTEXT;
  return finish(fill(to, value, count, 1, NULL, __func__));
}

DRIVER cuMemsetD32_v2(uint64_t to, unsigned value, size_t count) {
  ENTER_CONTEXT;
  return finish(fill(to, value, count, 4, NULL, __func__));
}

// ---- kernels ----

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
    *function = (struct function){.name = strndup(at, length), .shared = 48 << 10};
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

// Attribute 0 is the most threads of a block, 8 the most bytes of shared memory that a launch asks for.
DRIVER cuFuncGetAttribute(int *value, int attribute, void *handle) {
  ENTER_CONTEXT;
  FIND(function, function_of(handle, __func__));
  *value = attribute == 0 ? 1024 : attribute == 8 ? function->shared : 0;
  return SUCCESS;
}

DRIVER cuFuncSetAttribute(void *handle, int attribute, int value) {
  ENTER_CONTEXT;
  FIND(function, function_of(handle, __func__));
  if (attribute != 8) return SUCCESS;
  if (value < 0 || value > MOST_SHARED) return INVALID_VALUE;
  function->shared = value;
  return SUCCESS;
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
  if (block_x * block_y * block_z > 1024 || shared > (unsigned)function->shared) return INVALID_VALUE;
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

// ---- errors ----

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
