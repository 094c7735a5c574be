// A stand-in for cuDNN 9: what is told of convolutions and their gradients is checked, and computed later.

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "convolutions.h"

// The values of cuDNN.
enum { SUCCESS = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };
enum { NHWC = 1, CROSS_CORRELATION = 1, VERSION = 91900 };
enum { OTHER_BYTES_EACH_TIME = 0, SAME_BYTES_EACH_TIME = 1 };

struct library {
  void *stream;
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
