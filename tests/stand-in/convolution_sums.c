// The sums of a convolution and of its gradients, over arrays in NHWC of f32 or bf16.

#include "convolutions.h"

#include <string.h>

static float number(const void *numbers, int type, size_t at) {
  return type == F32 ? ((const float *)numbers)[at] : stand_in_widened(((const uint16_t *)numbers)[at]);
}

// Adds to each of `width` sums its column of so many rows, `step` apart, times a factor for each row.
static void gather(float *restrict sums, size_t width, const float *restrict factors, size_t count,
                   const float *restrict rows, size_t step) {
  size_t row = 0;
  for (; row + 4 <= count; row += 4) {
    const float *a = rows + row * step, *b = a + step, *c = b + step, *d = c + step;
    float first = factors[row], second = factors[row + 1], third = factors[row + 2], fourth = factors[row + 3];
    for (size_t i = 0; i < width; i++) sums[i] += (first * a[i] + second * b[i]) + (third * c[i] + fourth * d[i]);
  }
  for (; row < count; row++)
    for (size_t i = 0; i < width; i++) sums[i] += factors[row] * rows[row * step + i];
}

// Adds to each of so many rows, `step` apart, `width` values times a factor for the row.
static void scatter(float *restrict rows, size_t step, const float *restrict factors, size_t count,
                    const float *restrict values, size_t width) {
  for (size_t row = 0; row < count; row++)
    for (size_t i = 0; i < width; i++) rows[row * step + i] += factors[row] * values[i];
}

// Adds what one image counts for, wherever a place of it meets one of the result in a part of the weight. Only for
// FORWARD is the weight [rows, columns, groups, in, out]: what is summed at a time lies together.
static void meet(const struct work *work, size_t image, float *const arrays[DIRECTIONS]) {
  const struct convolution *by = &work->convolution;
  const int *x = work->images.lengths, *w = work->weight.lengths, *y = work->result.lengths;
  size_t groups = (size_t)by->groups, in = (size_t)w[1], out = (size_t)w[0] / groups;
  size_t parts = (size_t)w[2] * (size_t)w[3], step = parts * in;
  for (int p = 0; p < y[2]; p++)
    for (int r = 0; r < w[2]; r++)
      for (int s = 0; s < w[3]; s++)
        for (int q = 0; q < y[3]; q++) {
          int row = p * by->stride[0] + r * by->dilation[0] - by->padding[0];
          int column = q * by->stride[1] + s * by->dilation[1] - by->padding[1];
          if (row < 0 || row >= x[2] || column < 0 || column >= x[3]) continue;
          size_t part = (size_t)r * (size_t)w[3] + (size_t)s;
          size_t from = (image * (size_t)x[2] + (size_t)row) * (size_t)x[3] + (size_t)column;
          size_t to = (image * (size_t)y[2] + (size_t)p) * (size_t)y[3] + (size_t)q;
          float *images = arrays[BY_IMAGES] + from * groups * in, *result = arrays[FORWARD] + to * groups * out;
          for (size_t group = 0; group < groups; group++, images += in, result += out) {
            float *turned = arrays[BY_WEIGHT] + (part * groups + group) * in * out;
            float *weight = arrays[BY_WEIGHT] + group * out * step + part * in;
            if (work->direction == FORWARD)
              gather(result, out, images, in, turned, out);
            else if (work->direction == BY_IMAGES)
              gather(images, in, result, out, weight, step);
            else
              scatter(weight, step, result, out, images, in);
          }
        }
}

// Returns a copy of the weight as `meet` wants it for FORWARD.
static float *turn(const float *weight, const int w[4], size_t groups) {
  size_t parts = (size_t)w[2] * (size_t)w[3], in = (size_t)w[1], out = (size_t)w[0] / groups;
  float *turned = zeros((size_t)w[0] * parts * in, sizeof *turned), *to = turned;
  for (size_t part = 0; part < parts; part++)
    for (size_t group = 0; group < groups; group++)
      for (size_t i = 0; i < in; i++)
        for (size_t o = 0; o < out; o++) *to++ = weight[((group * out + o) * parts + part) * in + i];
  return turned;
}

void convolve(const void *what) {
  const struct work *work = what;
  const struct array *described[DIRECTIONS] = {&work->result, &work->images, &work->weight};
  int type = work->images.type;
  float *arrays[DIRECTIONS];
  // whoever thinks that the scratch keeps something finds no number there
  if (work->bytes) memset(work->scratch, 0xff, work->bytes);
  for (int i = 0; i < DIRECTIONS; i++) {
    size_t count = numbers(described[i]);
    arrays[i] = zeros(count, sizeof **arrays);
    if (i != (int)work->direction)
      for (size_t at = 0; at < count; at++) arrays[i][at] = number(work->places[i], type, at);
  }
  if (work->direction == FORWARD) {
    float *turned = turn(arrays[BY_WEIGHT], work->weight.lengths, (size_t)work->convolution.groups);
    free(arrays[BY_WEIGHT]);
    arrays[BY_WEIGHT] = turned;
  }
  float *values = arrays[work->direction];
  void *place = work->places[work->direction];
  size_t count = numbers(described[work->direction]);
  // by the weight all images count: sums of the sums of each lose less than one long sum
  float *sums = zeros(count, sizeof *sums);
  for (size_t image = 0; image < (size_t)work->images.lengths[0]; image++) {
    meet(work, image, arrays);
    if (work->direction != BY_WEIGHT) continue;
    for (size_t at = 0; at < count; at++) sums[at] += values[at];
    memset(values, 0, count * sizeof *values);
  }
  for (size_t at = 0; at < count; at++) {
    float value = work->alpha * (work->direction == BY_WEIGHT ? sums : values)[at];
    // what counts nothing may be no number
    if (work->beta != 0) value += work->beta * number(place, type, at);
    if (type == F32)
      ((float *)place)[at] = value;
    else
      ((uint16_t *)place)[at] = stand_in_rounded(value);
  }
  free(sums);
  for (int i = 0; i < DIRECTIONS; i++) free(arrays[i]);
}
