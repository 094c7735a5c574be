// A convolution as it is described to cuDNN's stand-in, and as it is left for later.

#ifndef CONVOLUTIONS_H
#define CONVOLUTIONS_H

#include <stdlib.h>

#include "stand_in.h"

// Types of numbers, as cuDNN counts them.
enum { F32 = 0, BF16 = 9 };

// What is computed from which two: the result from images and weight, or the gradient by one of them.
enum direction { FORWARD, BY_IMAGES, BY_WEIGHT, DIRECTIONS };

// An array: images or results [N, C, H, W], or a weight [out, in of a group, rows, columns]. Their order in memory is
// that of NHWC in any case.
struct array {
  int type;
  int lengths[4];
};

struct convolution {
  int padding[2], stride[2], dilation[2], groups, math;
};

// What is left for later: what is computed is written, the two others are read.
struct work {
  enum direction direction;
  struct convolution convolution;
  struct array images, weight, result;
  void *places[DIRECTIONS]; // each where its direction is: the result, the images, the weight
  void *scratch;
  size_t bytes;
  float alpha, beta;
};

static inline size_t numbers(const struct array *array) {
  size_t count = 1;
  for (int i = 0; i < 4; i++) count *= (size_t)array->lengths[i];
  return count;
}

static inline size_t size_of(int type) { return type == F32 ? 4 : 2; }

static inline void *zeros(size_t count, size_t size) {
  void *place = calloc(count ? count : 1, size);
  if (!place) abort();
  return place;
}

// Does it: `what` is a struct work.
__attribute__((visibility("hidden"))) void convolve(const void *what);

#endif
