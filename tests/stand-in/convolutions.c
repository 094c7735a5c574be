// A stand-in for cuDNN 9: convolutions and their gradients on the CPU, over arrays in NHWC of f32 or bf16.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

// The values of cuDNN.
enum { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };
enum { F32 = 0, BF16 = 9 };
enum { NHWC = 1, CROSS_CORRELATION = 1, VERSION = 91900 };
enum { OTHER_BYTES_EACH_TIME = 0, SAME_BYTES_EACH_TIME = 1 };

// What is computed from which two: the result from images and weight, or the gradient by one of them.
enum direction { FORWARD, BY_IMAGES, BY_WEIGHT, DIRECTIONS };

struct library {
  void *stream;
};

// An array: images or results [N, C, H, W], or a weight [out, in of a group, rows, columns]. Their order in memory is
// that of NHWC in any case.
struct array {
  int type;
  int lengths[4];
};

struct convolution {
  int padding[2], stride[2], dilation[2], groups, math;
};

// What cuDNN says of an algorithm.
struct performance {
  int algorithm, status;
  float time;
  size_t memory;
  int repeats, math, reserved[3];
};

// The algorithms of each direction in the order in which they are offered: the fastest first, last what cannot be. A
// gradient's fastest gives other bytes each time.
struct algorithm {
  int number, status, repeats;
  size_t scratch;
};
enum { ALGORITHMS = 4 };
static const struct algorithm algorithms[DIRECTIONS][ALGORITHMS] = {
    [FORWARD] = {{1, SUCCESS, SAME_BYTES_EACH_TIME, 4 << 10},
                 {0, SUCCESS, SAME_BYTES_EACH_TIME, 0},
                 {2, SUCCESS, SAME_BYTES_EACH_TIME, 16 << 10},
                 {6, NOT_SUPPORTED, SAME_BYTES_EACH_TIME, 0}},
    [BY_IMAGES] = {{0, SUCCESS, OTHER_BYTES_EACH_TIME, 0},
                   {1, SUCCESS, SAME_BYTES_EACH_TIME, 8 << 10},
                   {5, SUCCESS, SAME_BYTES_EACH_TIME, 16 << 10},
                   {4, NOT_SUPPORTED, SAME_BYTES_EACH_TIME, 0}},
    [BY_WEIGHT] = {{0, SUCCESS, OTHER_BYTES_EACH_TIME, 0},
                   {1, SUCCESS, SAME_BYTES_EACH_TIME, 4 << 10},
                   {3, SUCCESS, OTHER_BYTES_EACH_TIME, 16 << 10},
                   {4, NOT_SUPPORTED, SAME_BYTES_EACH_TIME, 0}},
};
static const char *const names[DIRECTIONS] = {
    "cudnnConvolutionForward", "cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter"};

__attribute__((format(printf, 3, 4)))
static int refused(const char *who, int status, const char *why, ...) {
  va_list values;
  va_start(values, why);
  fprintf(stderr, "%s: ", who);
  vfprintf(stderr, why, values);
  fputc('\n', stderr);
  va_end(values);
  return status;
}

static void *zeros(size_t count, size_t size) {
  void *place = calloc(count ? count : 1, size);
  if (!place) abort();
  return place;
}

size_t cudnnGetVersion(void) { return VERSION; }

int cudnnCreate(struct library **handle) {
  *handle = zeros(1, sizeof **handle);
  return SUCCESS;
}

int cudnnSetStream(struct library *handle, void *stream) {
  handle->stream = stream;
  return SUCCESS;
}

int cudnnCreateTensorDescriptor(struct array **array) {
  *array = zeros(1, sizeof **array);
  return SUCCESS;
}

int cudnnCreateFilterDescriptor(struct array **array) { return cudnnCreateTensorDescriptor(array); }

int cudnnCreateConvolutionDescriptor(struct convolution **convolution) {
  *convolution = zeros(1, sizeof **convolution);
  (*convolution)->groups = 1;
  return SUCCESS;
}

static int give_back(void *place) {
  free(place);
  return SUCCESS;
}

int cudnnDestroy(struct library *handle) { return give_back(handle); }
int cudnnDestroyTensorDescriptor(struct array *array) { return give_back(array); }
int cudnnDestroyFilterDescriptor(struct array *array) { return give_back(array); }
int cudnnDestroyConvolutionDescriptor(struct convolution *convolution) { return give_back(convolution); }

static int describe(struct array *array, const char *who, int format, int type, const int lengths[4]) {
  if (format != NHWC) return refused(who, NOT_SUPPORTED, "format %d is not NHWC", format);
  if (type != F32 && type != BF16) return refused(who, NOT_SUPPORTED, "type %d is neither f32 nor bf16", type);
  size_t count = 1;
  for (int i = 0; i < 4; i++) {
    if (lengths[i] < 1) return refused(who, BAD_PARAM, "length %d is %d", i, lengths[i]);
    count *= (size_t)lengths[i];
    if (count > INT32_MAX) return refused(who, NOT_SUPPORTED, "more numbers than an int counts");
  }
  array->type = type;
  memcpy(array->lengths, lengths, sizeof array->lengths);
  return SUCCESS;
}

int cudnnSetTensor4dDescriptor(struct array *array, int format, int type, int n, int c, int h, int w) {
  return describe(array, "cudnnSetTensor4dDescriptor", format, type, (int[]){n, c, h, w});
}

int cudnnSetFilter4dDescriptor(struct array *array, int type, int format, int k, int c, int h, int w) {
  return describe(array, "cudnnSetFilter4dDescriptor", format, type, (int[]){k, c, h, w});
}

int cudnnSetConvolution2dDescriptor(struct convolution *convolution, int padding_down, int padding_right,
                                    int stride_down, int stride_right, int dilation_down, int dilation_right,
                                    int mode, int computed) {
  const char *who = "cudnnSetConvolution2dDescriptor";
  if (mode != CROSS_CORRELATION) return refused(who, NOT_SUPPORTED, "a weight that is turned around");
  if (computed != F32) return refused(who, NOT_SUPPORTED, "sums that are not f32");
  if (padding_down < 0 || padding_right < 0) return refused(who, BAD_PARAM, "padding below 0");
  if (stride_down < 1 || stride_right < 1) return refused(who, BAD_PARAM, "a stride below 1");
  if (dilation_down < 1 || dilation_right < 1) return refused(who, BAD_PARAM, "a dilation below 1");
  memcpy(convolution->padding, (int[]){padding_down, padding_right}, sizeof convolution->padding);
  memcpy(convolution->stride, (int[]){stride_down, stride_right}, sizeof convolution->stride);
  memcpy(convolution->dilation, (int[]){dilation_down, dilation_right}, sizeof convolution->dilation);
  return SUCCESS;
}

int cudnnSetConvolutionGroupCount(struct convolution *convolution, int groups) {
  if (groups < 1) return refused("cudnnSetConvolutionGroupCount", BAD_PARAM, "%d groups", groups);
  convolution->groups = groups;
  return SUCCESS;
}

int cudnnSetConvolutionMathType(struct convolution *convolution, int math) {
  convolution->math = math;
  return SUCCESS;
}

// Returns whether three arrays go with each other.
static int agree(const char *who, const struct convolution *convolution, const struct array *images,
                 const struct array *weight, const struct array *result) {
  const int *x = images->lengths, *w = weight->lengths, *y = result->lengths;
  if (!x[0] || !w[0] || !y[0] || !convolution->stride[0]) return refused(who, BAD_PARAM, "not all was described");
  if (images->type != weight->type || images->type != result->type)
    return refused(who, BAD_PARAM, "images of type %d, a weight of %d, a result of %d", images->type, weight->type,
                   result->type);
  if (x[0] != y[0]) return refused(who, BAD_PARAM, "%d images, %d results", x[0], y[0]);
  if (w[0] != y[1]) return refused(who, BAD_PARAM, "the weight is for %d channels, the result has %d", w[0], y[1]);
  if ((long long)w[1] * convolution->groups != x[1] || w[0] % convolution->groups)
    return refused(who, BAD_PARAM, "images of %d channels, a weight [%d, %d, ..], %d groups", x[1], w[0], w[1],
                   convolution->groups);
  for (int i = 0; i < 2; i++) {
    long long reach = (w[2 + i] - 1LL) * convolution->dilation[i] + 1;
    long long moves = x[2 + i] + 2LL * convolution->padding[i] - reach;
    if (moves < 0 || moves / convolution->stride[i] + 1 != y[2 + i])
      return refused(who, BAD_PARAM, "%s: %d of images, %d of the weight, %d of the result; padding %d, stride %d, "
                     "dilation %d", i ? "columns" : "rows", x[2 + i], w[2 + i], y[2 + i], convolution->padding[i],
                     convolution->stride[i], convolution->dilation[i]);
  }
  return SUCCESS;
}

static int offer(enum direction direction, const char *who, const struct convolution *convolution,
                 const struct array *images, const struct array *weight, const struct array *result, int asked,
                 int *count, struct performance *offers) {
  if (asked < 1) return refused(who, BAD_PARAM, "%d algorithms asked for", asked);
  int status = agree(who, convolution, images, weight, result);
  if (status != SUCCESS) return status;
  *count = asked < ALGORITHMS ? asked : ALGORITHMS;
  for (int i = 0; i < *count; i++) {
    const struct algorithm *one = &algorithms[direction][i];
    offers[i] = (struct performance){.algorithm = one->number, .status = one->status, .time = -1,
                                     .memory = one->scratch, .repeats = one->repeats, .math = convolution->math};
  }
  return SUCCESS;
}

int cudnnGetConvolutionForwardAlgorithm_v7(struct library *handle, const struct array *images,
                                           const struct array *weight, const struct convolution *convolution,
                                           const struct array *result, int asked, int *count,
                                           struct performance *offers) {
  (void)handle;
  return offer(FORWARD, __func__, convolution, images, weight, result, asked, count, offers);
}

int cudnnGetConvolutionBackwardDataAlgorithm_v7(struct library *handle, const struct array *weight,
                                                const struct array *result, const struct convolution *convolution,
                                                const struct array *images, int asked, int *count,
                                                struct performance *offers) {
  (void)handle;
  return offer(BY_IMAGES, __func__, convolution, images, weight, result, asked, count, offers);
}

int cudnnGetConvolutionBackwardFilterAlgorithm_v7(struct library *handle, const struct array *images,
                                                  const struct array *result, const struct convolution *convolution,
                                                  const struct array *weight, int asked, int *count,
                                                  struct performance *offers) {
  (void)handle;
  return offer(BY_WEIGHT, __func__, convolution, images, weight, result, asked, count, offers);
}

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

static size_t numbers(const struct array *array) {
  size_t count = 1;
  for (int i = 0; i < 4; i++) count *= (size_t)array->lengths[i];
  return count;
}

static size_t size_of(int type) { return type == F32 ? 4 : 2; }

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

static void convolve(const void *what) {
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

static int holds(const void *place, size_t bytes, const char *who, const char *what) {
  char whole[80];
  snprintf(whole, sizeof whole, "%s, %s", who, what);
  return stand_in_holds(place, bytes, whole);
}

// Gives work to the stream, if all is as it must be. An algorithm that gives other bytes each time is no mistake for
// cuDNN, but it is one of whoever calls it here.
static int start(const struct library *handle, const struct work *work, int algorithm) {
  const char *who = names[work->direction];
  int status = agree(who, &work->convolution, &work->images, &work->weight, &work->result);
  if (status != SUCCESS) return status;
  const struct algorithm *taken = NULL;
  for (int i = 0; i < ALGORITHMS; i++)
    if (algorithms[work->direction][i].number == algorithm) taken = &algorithms[work->direction][i];
  if (!taken || taken->status != SUCCESS)
    return refused(who, NOT_SUPPORTED, "algorithm %d was not offered", algorithm);
  if (taken->repeats != SAME_BYTES_EACH_TIME)
    return refused(who, NOT_SUPPORTED, "algorithm %d gives other bytes each time", algorithm);
  if (work->bytes < taken->scratch)
    return refused(who, BAD_PARAM, "%zu bytes of scratch, and %zu were asked for", work->bytes, taken->scratch);
  size_t size = size_of(work->images.type);
  if (!holds(work->places[BY_IMAGES], numbers(&work->images) * size, who, "images") ||
      !holds(work->places[BY_WEIGHT], numbers(&work->weight) * size, who, "weight") ||
      !holds(work->places[FORWARD], numbers(&work->result) * size, who, "result") ||
      (work->bytes && !holds(work->scratch, work->bytes, who, "scratch")))
    return BAD_PARAM;
  stand_in_later(handle->stream, convolve, work, sizeof *work);
  return SUCCESS;
}

#define WORK(DIRECTION, RESULT, IMAGES, WEIGHT)                                                                 \
  {.direction = DIRECTION, .convolution = *convolution, .images = *images, .weight = *weight,                   \
   .result = *result, .places = {(void *)RESULT, (void *)IMAGES, (void *)WEIGHT}, .scratch = scratch,           \
   .bytes = bytes, .alpha = *(const float *)alpha, .beta = *(const float *)beta}

int cudnnConvolutionForward(struct library *handle, const void *alpha, const struct array *images, const void *x,
                            const struct array *weight, const void *w, const struct convolution *convolution,
                            int algorithm, void *scratch, size_t bytes, const void *beta, const struct array *result,
                            void *y) {
  struct work work = WORK(FORWARD, y, x, w);
  return start(handle, &work, algorithm);
}

int cudnnConvolutionBackwardData(struct library *handle, const void *alpha, const struct array *weight, const void *w,
                                 const struct array *result, const void *dy, const struct convolution *convolution,
                                 int algorithm, void *scratch, size_t bytes, const void *beta,
                                 const struct array *images, void *dx) {
  struct work work = WORK(BY_IMAGES, dy, dx, w);
  return start(handle, &work, algorithm);
}

int cudnnConvolutionBackwardFilter(struct library *handle, const void *alpha, const struct array *images,
                                   const void *x, const struct array *result, const void *dy,
                                   const struct convolution *convolution, int algorithm, void *scratch, size_t bytes,
                                   const void *beta, const struct array *weight, void *dw) {
  struct work work = WORK(BY_WEIGHT, dy, x, dw);
  return start(handle, &work, algorithm);
}
