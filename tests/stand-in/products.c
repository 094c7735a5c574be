// A stand-in for cuBLAS and cuRAND: products of matrices on the CPU, and generators that nobody asks for a number.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

// The values of cuBLAS and cuRAND.
enum { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { GENERATOR_OF_ANOTHER_TYPE = 103, DEFAULT_GENERATOR = 100 };
enum { PLAIN = 0, TURNED = 1 };
enum { F32 = 0, BF16 = 14 };
enum { COMPUTED_IN_F32 = 68 };

// Numbers of a result that are computed together, and the factors that are summed before sums are summed: less is
// lost than in one long sum.
#define HIGH 8
#define WIDE 4
#define DEEP 256

typedef float lanes __attribute__((vector_size(16)));
enum { LANES = sizeof(lanes) / sizeof(float), PIECES = HIGH / LANES };

// Handles and generators: both know no more than where their work goes.
struct library {
  void *stream;
};

static struct library *opened(void) {
  struct library *library = calloc(1, sizeof *library);
  if (!library) abort();
  return library;
}

int cublasCreate_v2(struct library **handle) {
  *handle = opened();
  return SUCCESS;
}

int cublasDestroy_v2(struct library *handle) {
  free(handle);
  return SUCCESS;
}

int cublasSetStream_v2(struct library *handle, void *stream) {
  handle->stream = stream;
  return SUCCESS;
}

int curandCreateGenerator(struct library **generator, int type) {
  if (type != DEFAULT_GENERATOR) return GENERATOR_OF_ANOTHER_TYPE;
  *generator = opened();
  return SUCCESS;
}

int curandDestroyGenerator(struct library *generator) {
  free(generator);
  return SUCCESS;
}

int curandSetStream(struct library *generator, void *stream) {
  generator->stream = stream;
  return SUCCESS;
}

int curandSetPseudoRandomGeneratorSeed(struct library *generator, unsigned long long seed) {
  (void)generator, (void)seed;
  return SUCCESS;
}

// A factor of a product: how far apart its numbers are along the result's side and along the sums, and its matrices.
struct factor {
  const void *numbers;
  size_t side_step, sum_step, stride;
};

struct product {
  struct factor a, b;
  size_t rows, columns, depth, batch;
  float alpha, beta;
  void *result;
  size_t column_step, stride;
  int type;
};

static size_t size_of(int type) { return type == F32 ? 4 : 2; }

static float number(const void *numbers, int type, size_t at) {
  return type == F32 ? ((const float *)numbers)[at] : stand_in_widened(((const uint16_t *)numbers)[at]);
}

static size_t panels(size_t length, size_t width) { return (length + width - 1) / width; }

// Copies a matrix to panels of so many of its rows or columns, where what is multiplied at a time lies together; past
// the last one are zeros.
static void pack(const struct factor *factor, int type, size_t place, size_t length, size_t depth, size_t width,
                 float *to) {
  for (size_t panel = 0; panel < panels(length, width); panel++)
    for (size_t k = 0; k < depth; k++)
      for (size_t i = 0; i < width; i++) {
        size_t side = panel * width + i, at = place + side * factor->side_step + k * factor->sum_step;
        *to++ = side < length ? number(factor->numbers, type, at) : 0;
      }
}

// Multiplies two panels.
static void multiply_panels(const float *a, const float *b, size_t depth, lanes sums[WIDE][PIECES]) {
  memset(sums, 0, WIDE * PIECES * sizeof(lanes));
  for (size_t done = 0; done < depth; done += DEEP) {
    lanes part[WIDE][PIECES] = {0}, column[PIECES];
    size_t end = depth < done + DEEP ? depth : done + DEEP;
    for (size_t k = done; k < end; k++) {
      memcpy(column, a + k * HIGH, sizeof column);
      for (int j = 0; j < WIDE; j++)
        for (int i = 0; i < PIECES; i++) part[j][i] += column[i] * b[k * WIDE + j];
    }
    for (int j = 0; j < WIDE; j++)
      for (int i = 0; i < PIECES; i++) sums[j][i] += part[j][i];
  }
}

// Writes what lies within the result. What was there is not looked at where it counts nothing: it may be no number.
static void finish(const struct product *product, size_t batch, size_t row, size_t column,
                   const lanes sums[WIDE][PIECES]) {
  for (size_t j = 0; j < WIDE && column + j < product->columns; j++)
    for (size_t i = 0; i < HIGH && row + i < product->rows; i++) {
      size_t at = batch * product->stride + (column + j) * product->column_step + row + i;
      float value = product->alpha * sums[j][i / LANES][i % LANES];
      if (product->beta != 0) value += product->beta * number(product->result, product->type, at);
      if (product->type == F32)
        ((float *)product->result)[at] = value;
      else
        ((uint16_t *)product->result)[at] = stand_in_rounded(value);
    }
}

static void multiply(const void *what) {
  const struct product *product = what;
  size_t depth = product->depth, down = panels(product->rows, HIGH), across = panels(product->columns, WIDE);
  // one more than may be none
  float *a = malloc((down * HIGH * depth + 1) * sizeof *a), *b = malloc((across * WIDE * depth + 1) * sizeof *b);
  if (!a || !b) abort();
  for (size_t batch = 0; batch < product->batch; batch++) {
    pack(&product->a, product->type, batch * product->a.stride, product->rows, depth, HIGH, a);
    pack(&product->b, product->type, batch * product->b.stride, product->columns, depth, WIDE, b);
    for (size_t column = 0; column < across; column++)
      for (size_t row = 0; row < down; row++) {
        lanes sums[WIDE][PIECES];
        multiply_panels(a + row * HIGH * depth, b + column * WIDE * depth, depth, sums);
        finish(product, batch, row * HIGH, column * WIDE, sums);
      }
  }
  free(a);
  free(b);
}

static int refused(int status, const char *why) {
  fprintf(stderr, "cublasGemmStridedBatchedEx: %s\n", why);
  return status;
}

// Returns how many numbers lie from the first matrix to the end of the last; they are stored by columns.
static size_t extent(int rows, int columns, int step, long long stride, int batch) {
  if (!rows || !columns) return 0;
  return (size_t)(batch - 1) * (size_t)stride + (size_t)(columns - 1) * (size_t)step + (size_t)rows;
}

static int holds(const void *numbers, size_t count, int type, const char *who) {
  return !count || stand_in_holds(numbers, count * size_of(type), who);
}

// The result, of m rows and n columns, is alpha * a * b + beta * what it was; all matrices are stored by columns.
int cublasGemmStridedBatchedEx(struct library *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha,
                               const void *a, int type_a, int step_a, long long stride_a, const void *b, int type_b,
                               int step_b, long long stride_b, const void *beta, void *c, int type_c, int step_c,
                               long long stride_c, int batch, int computed, int algorithm) {
  (void)algorithm;
  if ((turn_a != PLAIN && turn_a != TURNED) || (turn_b != PLAIN && turn_b != TURNED))
    return refused(NOT_SUPPORTED, "an operation that is neither N nor T");
  if (computed != COMPUTED_IN_F32) return refused(NOT_SUPPORTED, "sums that are not f32");
  if ((type_a != F32 && type_a != BF16) || type_b != type_a || type_c != type_a)
    return refused(NOT_SUPPORTED, "matrices that are neither all f32 nor all bf16");
  if (m < 0 || n < 0 || k < 0 || batch < 0 || stride_a < 0 || stride_b < 0 || stride_c < 0)
    return refused(INVALID_VALUE, "a length below 0");
  int rows_a = turn_a ? k : m, columns_a = turn_a ? m : k, rows_b = turn_b ? n : k, columns_b = turn_b ? k : n;
  if (step_a < 1 || step_b < 1 || step_c < 1 || step_a < rows_a || step_b < rows_b || step_c < m)
    return refused(INVALID_VALUE, "a leading dimension is less than the rows");
  if (!m || !n || !batch) return SUCCESS;
  if (batch > 1 && (size_t)stride_c < extent(m, n, step_c, 0, 1))
    return refused(INVALID_VALUE, "results that lie on each other");
  if (!holds(a, extent(rows_a, columns_a, step_a, stride_a, batch), type_a, "cublasGemmStridedBatchedEx, A") ||
      !holds(b, extent(rows_b, columns_b, step_b, stride_b, batch), type_b, "cublasGemmStridedBatchedEx, B") ||
      !holds(c, extent(m, n, step_c, stride_c, batch), type_c, "cublasGemmStridedBatchedEx, C"))
    return INVALID_VALUE;
  struct product product = {
      .a = {a, turn_a ? (size_t)step_a : 1, turn_a ? 1 : (size_t)step_a, (size_t)stride_a},
      .b = {b, turn_b ? 1 : (size_t)step_b, turn_b ? (size_t)step_b : 1, (size_t)stride_b},
      .rows = (size_t)m, .columns = (size_t)n, .depth = (size_t)k, .batch = (size_t)batch,
      .alpha = *(const float *)alpha, .beta = *(const float *)beta,
      .result = c, .column_step = (size_t)step_c, .stride = (size_t)stride_c, .type = type_a,
  };
  stand_in_later(handle->stream, multiply, &product, sizeof product);
  return SUCCESS;
}
