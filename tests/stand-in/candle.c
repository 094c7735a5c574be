// Candle's own kernels, as many as training and inference launch.

#include <math.h>
#include <string.h>

#include "stand_in.h"

// The types of numbers.
enum type { F32, F64, BF16, U8, U32, I64, TYPES };
static const size_t sizes[TYPES] = {4, 8, 2, 1, 4, 8};

static double load(enum type type, const void *array, size_t at) {
  switch (type) {
    case F32: return ((const float *)array)[at];
    case F64: return ((const double *)array)[at];
    case BF16: return stand_in_widened(((const uint16_t *)array)[at]);
    case U8: return ((const uint8_t *)array)[at];
    case U32: return ((const uint32_t *)array)[at];
    default: return (double)((const int64_t *)array)[at];
  }
}

static void store(enum type type, void *array, size_t at, double value) {
  switch (type) {
    case F32: ((float *)array)[at] = (float)value; return;
    case F64: ((double *)array)[at] = value; return;
    case BF16: ((uint16_t *)array)[at] = stand_in_rounded((float)value); return;
    case U8: ((uint8_t *)array)[at] = (uint8_t)value; return;
    case U32: ((uint32_t *)array)[at] = (uint32_t)value; return;
    default: ((int64_t *)array)[at] = (int64_t)value;
  }
}

// Where number `at` of an array lies, whose lengths and steps are told; without steps it is contiguous.
static size_t strided(size_t at, size_t count, const size_t *lengths, const size_t *steps) {
  size_t place = 0;
  if (!lengths) return at;
  for (size_t i = count; i-- > 0; at /= lengths[i]) place += at % lengths[i] * steps[i];
  return place;
}

#define ARGUMENT(TYPE, NUMBER) (*(TYPE const *)arguments[NUMBER])
#define NAMED(FUNCTION) static void FUNCTION(const struct kernel *kernel, void *const *arguments)

// What a name says.
struct kernel {
  const char *operation;
  enum type from, to;
};

static double unary(const char *operation, double x) {
  if (!strcmp(operation, "usqr")) return x * x;
  if (!strcmp(operation, "usqrt")) return sqrt(x);
  if (!strcmp(operation, "urecip")) return 1 / x;
  if (!strcmp(operation, "uneg")) return -x;
  if (!strcmp(operation, "uexp")) return exp(x);
  if (!strcmp(operation, "ulog")) return log(x);
  return x;  // a copy or a cast
}

static double binary(const char *operation, double x, double y) {
  if (!strcmp(operation, "badd")) return x + y;
  if (!strcmp(operation, "bsub")) return x - y;
  if (!strcmp(operation, "bmul")) return x * y;
  if (!strcmp(operation, "bdiv")) return x / y;
  if (!strcmp(operation, "bmaximum")) return x > y || x != x ? x : y;
  if (!strcmp(operation, "bminimum")) return x < y || x != x ? x : y;
  if (!strcmp(operation, "eq")) return x == y;
  if (!strcmp(operation, "ne")) return x != y;
  if (!strcmp(operation, "lt")) return x < y;
  if (!strcmp(operation, "le")) return x <= y;
  if (!strcmp(operation, "gt")) return x > y;
  return x >= y;
}

// (count, dimensions, lengths and steps, from, to)
NAMED(map) {
  size_t count = ARGUMENT(size_t, 0), dimensions = ARGUMENT(size_t, 1);
  const size_t *lengths = ARGUMENT(size_t *, 2);
  const void *from = ARGUMENT(void *, 3);
  void *to = ARGUMENT(void *, 4);
  for (size_t i = 0; i < count; i++) {
    double x = load(kernel->from, from, strided(i, dimensions, lengths, lengths + dimensions));
    store(kernel->to, to, i, unary(kernel->operation, x));
  }
}

// As above, and (factor, summand)
NAMED(affine) {
  size_t count = ARGUMENT(size_t, 0), dimensions = ARGUMENT(size_t, 1);
  const size_t *lengths = ARGUMENT(size_t *, 2);
  const void *from = ARGUMENT(void *, 3);
  void *to = ARGUMENT(void *, 4);
  double factor = load(kernel->from, arguments[5], 0), summand = load(kernel->from, arguments[6], 0);
  for (size_t i = 0; i < count; i++) {
    double x = load(kernel->from, from, strided(i, dimensions, lengths, lengths + dimensions));
    store(kernel->from, to, i, x * factor + summand);
  }
}

// (count, dimensions, lengths and steps, value, to)
NAMED(constant) {
  size_t count = ARGUMENT(size_t, 0), dimensions = ARGUMENT(size_t, 1);
  const size_t *lengths = ARGUMENT(size_t *, 2);
  double value = load(kernel->from, arguments[3], 0);
  void *to = ARGUMENT(void *, 4);
  for (size_t i = 0; i < count; i++)
    store(kernel->from, to, strided(i, dimensions, lengths, lengths + dimensions), value);
}

// (count, dimensions, lengths and steps of both, one, other, to)
NAMED(join) {
  size_t count = ARGUMENT(size_t, 0), dimensions = ARGUMENT(size_t, 1);
  const size_t *lengths = ARGUMENT(size_t *, 2);
  const void *one = ARGUMENT(void *, 3), *other = ARGUMENT(void *, 4);
  void *to = ARGUMENT(void *, 5);
  for (size_t i = 0; i < count; i++) {
    double x = load(kernel->from, one, strided(i, dimensions, lengths, lengths + dimensions));
    double y = load(kernel->from, other, strided(i, dimensions, lengths, lengths + 2 * dimensions));
    store(kernel->to, to, i, binary(kernel->operation, x, y));
  }
}

// (count, dimensions, lengths and steps of all three, condition, then, else, to)
NAMED(where) {
  size_t count = ARGUMENT(size_t, 0), dimensions = ARGUMENT(size_t, 1);
  const size_t *lengths = ARGUMENT(size_t *, 2);
  const void *condition = ARGUMENT(void *, 3), *one = ARGUMENT(void *, 4), *other = ARGUMENT(void *, 5);
  void *to = ARGUMENT(void *, 6);
  for (size_t i = 0; i < count; i++) {
    int holds = load(kernel->from, condition, strided(i, dimensions, lengths, lengths + dimensions)) != 0;
    size_t place = strided(i, dimensions, lengths, lengths + (holds ? 2 : 3) * dimensions);
    store(kernel->to, to, i, load(kernel->to, holds ? one : other, place));
  }
}

// (count, numbers of each sum, dimensions, lengths and steps, those summed over last, from, to); the count is that
// of the sums where they are small.
NAMED(reduce) {
  size_t count = ARGUMENT(size_t, 0), each = ARGUMENT(size_t, 1), dimensions = ARGUMENT(size_t, 2);
  const size_t *lengths = ARGUMENT(size_t *, 3);
  const void *from = ARGUMENT(void *, 4);
  void *to = ARGUMENT(void *, 5);
  const char *what = kernel->operation + strlen("fast_");
  size_t sums = strcmp(what, "sum_small") ? count / each : count;
  int least = strstr(what, "min") != 0, place = strncmp(what, "arg", 3) == 0, added = !strncmp(what, "sum", 3);
  for (size_t sum = 0; sum < sums; sum++) {
    double best = 0;
    size_t found = 0;
    for (size_t i = 0; i < each; i++) {
      double x = load(kernel->from, from, strided(sum * each + i, dimensions, lengths, lengths + dimensions));
      if (added)
        best += x;
      else if (i == 0 || (least ? x < best : x > best))
        best = x, found = i;
    }
    store(place ? U32 : kernel->from, to, sum, place ? (double)found : best);
  }
}

// (from, to, rows, columns, step from row to row of both)
NAMED(rectangle) {
  const char *from = ARGUMENT(char *, 0);
  char *to = ARGUMENT(char *, 1);
  uint32_t rows = ARGUMENT(uint32_t, 2), columns = ARGUMENT(uint32_t, 3);
  size_t size = sizes[kernel->from], step = ARGUMENT(uint32_t, 4) * size, other = ARGUMENT(uint32_t, 5) * size;
  for (uint32_t row = 0; row < rows; row++) memcpy(to + row * other, from + row * step, columns * size);
}

// Kernels by name: KERNEL(function, operation, type in the name, type read, type written).
#define EVERY_TYPE(KERNEL, FUNCTION, OPERATION)                                                                  \
  KERNEL(FUNCTION, OPERATION, f32, F32, F32) KERNEL(FUNCTION, OPERATION, f64, F64, F64)                         \
  KERNEL(FUNCTION, OPERATION, bf16, BF16, BF16) KERNEL(FUNCTION, OPERATION, u8, U8, U8)                         \
  KERNEL(FUNCTION, OPERATION, u32, U32, U32) KERNEL(FUNCTION, OPERATION, i64, I64, I64)
#define COMPARED(KERNEL, OPERATION)                                                                              \
  KERNEL(join, OPERATION, f32, F32, U8) KERNEL(join, OPERATION, bf16, BF16, U8)                                 \
  KERNEL(join, OPERATION, u8, U8, U8) KERNEL(join, OPERATION, u32, U32, U8)
#define CAST(KERNEL, NAME, FROM)                                                                                 \
  KERNEL(map, cast_##NAME, f32, FROM, F32) KERNEL(map, cast_##NAME, f64, FROM, F64)                             \
  KERNEL(map, cast_##NAME, bf16, FROM, BF16) KERNEL(map, cast_##NAME, u8, FROM, U8)                             \
  KERNEL(map, cast_##NAME, u32, FROM, U32) KERNEL(map, cast_##NAME, i64, FROM, I64)
#define EVERY_KERNEL(KERNEL)                                                                                     \
  EVERY_TYPE(KERNEL, map, ucopy) EVERY_TYPE(KERNEL, map, usqr) EVERY_TYPE(KERNEL, map, usqrt)                   \
  EVERY_TYPE(KERNEL, map, urecip) EVERY_TYPE(KERNEL, map, uneg) EVERY_TYPE(KERNEL, map, uexp)                   \
  EVERY_TYPE(KERNEL, map, ulog) EVERY_TYPE(KERNEL, affine, affine) EVERY_TYPE(KERNEL, constant, const_set)      \
  EVERY_TYPE(KERNEL, join, badd) EVERY_TYPE(KERNEL, join, bsub) EVERY_TYPE(KERNEL, join, bmul)                  \
  EVERY_TYPE(KERNEL, join, bdiv) EVERY_TYPE(KERNEL, join, bmaximum) EVERY_TYPE(KERNEL, join, bminimum)          \
  COMPARED(KERNEL, eq) COMPARED(KERNEL, ne) COMPARED(KERNEL, lt) COMPARED(KERNEL, le) COMPARED(KERNEL, gt)      \
  COMPARED(KERNEL, ge) KERNEL(where, where_u8, f32, U8, F32) KERNEL(where, where_u8, bf16, U8, BF16)            \
  EVERY_TYPE(KERNEL, reduce, fast_sum) EVERY_TYPE(KERNEL, reduce, fast_sum_small)                               \
  EVERY_TYPE(KERNEL, reduce, fast_max) EVERY_TYPE(KERNEL, reduce, fast_min)                                     \
  EVERY_TYPE(KERNEL, reduce, fast_argmax) EVERY_TYPE(KERNEL, reduce, fast_argmin)                               \
  EVERY_TYPE(KERNEL, rectangle, copy2d) CAST(KERNEL, f32, F32) CAST(KERNEL, f64, F64) CAST(KERNEL, bf16, BF16)  \
  CAST(KERNEL, u8, U8) CAST(KERNEL, u32, U32) CAST(KERNEL, i64, I64)

#define RUN(FUNCTION, OPERATION, NAME, FROM, TO)                                                                 \
  static void run_##OPERATION##_##NAME(const unsigned grid[3], const unsigned block[3], void *const *arguments) { \
    static const struct kernel kernel = {#OPERATION, FROM, TO};                                                 \
    (void)grid, (void)block;                                                                                    \
    FUNCTION(&kernel, arguments);                                                                               \
  }
EVERY_KERNEL(RUN)

#define ENTRY(FUNCTION, OPERATION, NAME, FROM, TO) {#OPERATION "_" #NAME, run_##OPERATION##_##NAME},
static const struct { const char *name; stand_in_kernel run; } kernels[] = {EVERY_KERNEL(ENTRY)};

stand_in_kernel stand_in_find_candle(const char *name) {
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
    if (!strcmp(kernels[i].name, name)) return kernels[i].run;
  return 0;
}
