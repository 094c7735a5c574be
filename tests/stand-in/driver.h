// What the parts of the stand-in for the driver share: its memory, its streams, and one lock for all of it.
//
// What a stream is given is done as late as a GPU may do it, so that a program that does not wait, or that lets
// streams race, sees wrong numbers. Freed memory and fresh memory hold what is not a number.

#ifndef DRIVER_H
#define DRIVER_H

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

#define DRIVER __attribute__((visibility("default"))) int

// What functions return, but for success.
#define RESULTS(RESULT)                                                       \
  RESULT(INVALID_VALUE, 1, "invalid argument")                                \
  RESULT(OUT_OF_MEMORY, 2, "out of memory")                                   \
  RESULT(NOT_INITIALIZED, 3, "initialization error")                          \
  RESULT(INVALID_DEVICE, 101, "invalid device ordinal")                       \
  RESULT(INVALID_CONTEXT, 201, "invalid device context")                      \
  RESULT(INVALID_PTX, 218, "a PTX JIT compilation failed")                    \
  RESULT(INVALID_HANDLE, 400, "invalid resource handle")                      \
  RESULT(NOT_FOUND, 500, "named symbol not found")                            \
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

// Memory of the device. It is given back when the program says so, and freed when the stream is there.
struct block {
  unsigned char *bytes;
  size_t size, users;
  int given_back;
};

// Memory here that stays in its place, and how many copies of it wait.
struct pinned {
  struct pinned *next;
  unsigned char *bytes;
  size_t size, pending;
};

#define MOST_ARGUMENTS 64

// Shared by the parts, and by nobody else.
#pragma GCC visibility push(hidden)

extern pthread_mutex_t lock;
extern int retains;    // contexts that are held
extern int draining;   // whether work is being done
extern int failure;    // what was found wrong meanwhile
extern int traced;     // whether launches are told
extern char context;
// Bytes of the device: all, those taken, and the most that were.
extern size_t total, live, most;
extern __thread void *current;  // context of this thread
extern __thread size_t notes;   // places in blocks that the next entry of this thread uses
extern __thread const void *noted[MOST_ARGUMENTS];

// Says on standard error what is wrong, and returns the result.
__attribute__((format(printf, 2, 3))) int refuse(int result, const char *format, ...);
// An array with room for one more; rooms are powers of two.
void *grown(void *array, size_t count, size_t size);
// Memory of zeros.
void *room(size_t bytes);

// The block that has this place, or nothing.
struct block *block_at(const void *place);
// Lets the next entry of this thread use the block at a place.
void note(const void *place);
// Whether a block has so many bytes here; else says so.
int holds(const void *place, size_t bytes, const char *who);
struct pinned *pinned_at(const void *place);

// The stream of a handle, or nothing, which is told.
struct stream *stream_of(void *handle, const char *who);
// Does the work of a stream up to an entry, or of all streams to their ends.
void drain(struct stream *stream, uint64_t until);
void drain_default(void);
void drain_all(void);
// Adds an entry and returns where to write what its work is; it uses the blocks that this thread has noted.
void *add(struct stream *stream, void (*work)(const void *), size_t bytes);

#pragma GCC visibility pop

static inline void leave(int *held) {
  (void)held;
  pthread_mutex_unlock(&lock);
}

#define ENTER int held __attribute__((cleanup(leave), unused)) = pthread_mutex_lock(&lock)
#define ENTER_CONTEXT                                                                                \
  ENTER;                                                                                             \
  notes = 0;                                                                                         \
  if (!current || !retains) return refuse(INVALID_CONTEXT, "%s is called without a context", __func__)

#define ENTER_DEVICE                      \
  ENTER;                                  \
  if (!total) return NOT_INITIALIZED;     \
  if (device) return INVALID_DEVICE

#define FIND(KIND, FOUND)     \
  struct KIND *KIND = FOUND;  \
  if (!KIND) return INVALID_HANDLE

#endif
