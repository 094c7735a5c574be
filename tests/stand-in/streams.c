// Streams, which are queues of work that is done when somebody waits for it, and events, which remember places in them.

#include "driver.h"

#include <time.h>

#define MOST_QUEUED 20000
#define STREAMS 0x5000000000  // handles are numbers from here on, never used twice
#define EVENTS 0x6000000000

struct event {
  struct stream *stream;  // of the last record, which is entry `position` there
  uint64_t position;
  struct timespec when;
  int timed, destroyed;
};

int draining, failure;
static struct stream **streams;
static struct event *events;
static size_t stream_count, event_count;
static __thread struct stream *own;

static struct stream *new_stream(void) {
  struct stream *stream = room(sizeof *stream);
  stream->last = &stream->first;
  streams = grown(streams, stream_count, sizeof *streams);
  streams[stream_count++] = stream;
  return stream;
}

// The first of all streams is the default one; each thread has one of its own.
struct stream *stream_of(void *handle, const char *who) {
  uintptr_t number = (uintptr_t)handle;
  if (!stream_count) new_stream();
  if (number <= 1) return streams[0];
  if (number == 2) return own ? own : (own = new_stream());
  if (number > STREAMS && number - STREAMS < stream_count && !streams[number - STREAMS]->destroyed)
    return streams[number - STREAMS];
  refuse(0, "%s is given %p, which is no stream", who, handle);
  return NULL;
}

void drain(struct stream *stream, uint64_t until) {
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

void drain_default(void) {
  drain(streams[0], streams[0]->queued);
}

void drain_all(void) {
  for (size_t i = 0; i < stream_count; i++) drain(streams[i], streams[i]->queued);
}

void *add(struct stream *stream, void (*work)(const void *), size_t bytes) {
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
