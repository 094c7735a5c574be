// What the parts of the stand-in for a GPU share: the driver's half has streams, and the others give them work.
//
// All parts are one shared object, found under the names of NVIDIA's libraries (scripts/gpu-stand-in).

#ifndef STAND_IN_H
#define STAND_IN_H

#include <stddef.h>
#include <stdint.h>

// Work is done late: only when something waits for it, in the order of its stream. The `bytes` that describe it are
// copied; numbers that they point to are read when it is done, as on a GPU.
void stand_in_later(void *stream, void (*work)(const void *), const void *what, size_t bytes);

// Returns whether so many bytes from here on are memory of the device that is not given back; else says on standard
// error what `who` wanted of it.
int stand_in_holds(const void *place, size_t bytes, const char *who);

// A kernel over blocks of threads; `arguments` point to its arguments, one after the other.
typedef void (*stand_in_kernel)(const unsigned grid[3], const unsigned block[3], void *const *arguments);

// Returns the kernel of this name, or nothing.
stand_in_kernel stand_in_find_own(const char *name);
stand_in_kernel stand_in_find_candle(const char *name);

// Numbers of 16 bits, the upper half of an f32.
static inline float stand_in_widened(uint16_t bits) {
  union { uint32_t bits; float value; } whole = {(uint32_t)bits << 16};
  return whole.value;
}

// To the nearest, of two as near to the even one.
static inline uint16_t stand_in_rounded(float value) {
  union { float value; uint32_t bits; } whole = {value};
  if (value != value) return 0x7fc0;
  return (uint16_t)((whole.bits + 0x7fff + (whole.bits >> 16 & 1)) >> 16);
}

#endif
