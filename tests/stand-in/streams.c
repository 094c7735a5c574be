// Streams, which are queues of work that is done when somebody waits for it, and events, which are places in them.

#include "driver.h"

#define MOST_QUEUED 20000
#define STREAMS 0x5000000000  // handles are numbers from here on, never used twice
#define EVENTS 0x6000000000

// How far a stream was.
struct place {
  struct stream *stream;
  uint64_t position;
};

// The place of the last record, if there was one.
struct event {
  struct place place;
  int destroyed;
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

static void wait_for(const void *what) {
  const struct place *place = what;
  drain(place->stream, place->position);
}

DRIVER cuEventCreate(void **handle, unsigned flags) {
  (void)flags;
  ENTER_CONTEXT;
  if (!handle) return INVALID_VALUE;
  *handle = (void *)(EVENTS + event_count);
  events = grown(events, event_count, sizeof *events);
  events[event_count++] = (struct event){0};
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
  event->place = (struct place){stream, stream->queued};
  return SUCCESS;
}

DRIVER cuStreamWaitEvent(void *stream_handle, void *handle, unsigned flags) {
  (void)flags;
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  FIND(stream, stream_of(stream_handle, __func__));
  struct place place = event->place;
  if (place.stream && place.stream->done < place.position)
    *(struct place *)add(stream, wait_for, sizeof place) = place;
  return SUCCESS;
}

DRIVER cuEventSynchronize(void *handle) {
  ENTER_CONTEXT;
  FIND(event, event_of(handle, __func__));
  if (event->place.stream) wait_for(&event->place);
  return failure;
}
