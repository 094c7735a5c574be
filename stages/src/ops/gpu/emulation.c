// Runs the kernels of kernels.cu one thread after the other and compares them with plain sums in f64.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned thread;
#define KERNEL static void
#define INLINE static inline
#define THREAD thread
#include "kernels.cu"

// More threads than are needed, as a launch in whole blocks has.
#define RUN(THREADS, CALL)                                                                                      \
  do {                                                                                                          \
    count threads = ((THREADS) + 255) / 256 * 256;                                                              \
    for (thread = 0; thread < threads; thread++) CALL;                                                          \
  } while (0)

static unsigned state = 1;
static double draw(void) { // between -1 and 1
  state = state * 1664525u + 1013904223u;
  return (double)(int)state / 2147483648.0;
}

static void near(const char *what, count at, double found, double expected, double allowed) {
  if (fabs(found - expected) <= allowed) return; // false for what is not a number
  fprintf(stderr, "%s: number %u is %.9g, not %.9g\n", what, at, found, expected);
  exit(1);
}

static void *room(count numbers) {
  void *memory = calloc(numbers + 1, sizeof(float));
  if (!memory) exit(2);
  return memory;
}

// Adds up [lanes, 2 * channels] in two folds, as the host asks for them.
static float *folded(float *partial, count lanes, count width) {
  count take = 32, some = (lanes + take - 1) / take;
  float *between = room(some * width), *sums = room(width);
  RUN(some * width, fold(lanes, width, take, partial, between));
  RUN(width, fold(some, width, some, between, sums));
  free(between);
  return sums;
}

#define CHECK(TYPE)                                                                                             \
  static void check_##TYPE(count rows, count channels, count lanes, double level, int added, int limits,        \
                           double allowed) {                                                                    \
    count all = rows * channels;                                                                                \
    float lowest = limits ? 0.f : -INFINITY, highest = limits == 2 ? 6.f : INFINITY;                            \
    TYPE *x = room(all), *residual = room(all), *gradient = room(all), *y = room(all), *back = room(all),       \
         *masked = room(all);                                                                                   \
    float *first = room(channels), *mean = room(channels), *variance = room(channels), *inverse = room(channels), \
          *scale = room(channels), *bias = room(channels), *partial = room(lanes * 2 * channels);               \
    for (count at = 0; at < all; at++) {                                                                        \
      store_##TYPE(x, at, (float)(draw() + level));                                                             \
      store_##TYPE(residual, at, (float)draw());                                                                \
      store_##TYPE(gradient, at, (float)draw());                                                                \
    }                                                                                                           \
    RUN(channels, first_##TYPE(channels, x, first));                                                            \
    RUN(lanes * channels, statistics_##TYPE(rows, channels, lanes, x, first, partial));                         \
    float *sums = folded(partial, lanes, 2 * channels);                                                         \
    RUN(channels, moments(rows, channels, first, sums, mean, variance));                                        \
    free(sums);                                                                                                 \
    for (count c = 0; c < channels; c++) {                                                                      \
      double sum = 0, squares = 0;                                                                              \
      for (count row = 0; row < rows; row++) sum += load_##TYPE(x, row * channels + c);                         \
      for (count row = 0; row < rows; row++) {                                                                  \
        double apart = load_##TYPE(x, row * channels + c) - sum / (double)rows;                                 \
        squares += apart * apart;                                                                               \
      }                                                                                                         \
      near("mean", c, mean[c], sum / (double)rows, 1e-6 * (1 + fabs(level)));                                   \
      near("variance", c, variance[c], squares / (double)rows, 1e-5 * (1 + squares / (double)rows));            \
      inverse[c] = (float)(1 / sqrt(variance[c] + 1e-5));                                                       \
      scale[c] = (float)draw() * 4 * inverse[c];                                                                \
      bias[c] = (float)draw();                                                                                  \
    }                                                                                                           \
    RUN(all, normalize_##TYPE(rows, channels, x, mean, scale, bias, added, residual, lowest, highest, y));      \
    for (count at = 0; at < all; at++) {                                                                        \
      count c = at % channels;                                                                                  \
      double value = (load_##TYPE(x, at) - (double)mean[c]) * scale[c] + bias[c];                               \
      if (added) value += load_##TYPE(residual, at);                                                            \
      value = fmin(fmax(value, lowest), highest);                                                               \
      near("normalized", at, load_##TYPE(y, at), value, allowed * (1 + fabs(value)));                           \
    }                                                                                                           \
    RUN(lanes * channels, back_sums_##TYPE(rows, channels, lanes, gradient, x, limits, y, lowest, highest, mean, \
                                           inverse, partial));                                                  \
    sums = folded(partial, lanes, 2 * channels);                                                                \
    RUN(all, back_##TYPE(rows, channels, gradient, x, limits, y, lowest, highest, mean, inverse, scale, sums,   \
                         added, masked, back));                                                                 \
    for (count c = 0; c < channels; c++) {                                                                      \
      double by_bias = 0, by_weight = 0;                                                                        \
      for (int turn = 0; turn < 2; turn++)                                                                      \
        for (count row = 0; row < rows; row++) {                                                                \
          count at = row * channels + c;                                                                        \
          double result = load_##TYPE(y, at), value = load_##TYPE(gradient, at);                                \
          if (limits && (result <= lowest || result >= highest)) value = 0;                                     \
          double normal = (load_##TYPE(x, at) - (double)mean[c]) * inverse[c];                                  \
          if (!turn) {                                                                                          \
            by_bias += value;                                                                                   \
            by_weight += value * normal;                                                                        \
            continue;                                                                                           \
          }                                                                                                     \
          if (added) near("masked", at, load_##TYPE(masked, at), value, 0);                                     \
          double wanted = (value - (by_bias + normal * by_weight) / (double)rows) * scale[c];                   \
          near("gradient", at, load_##TYPE(back, at), wanted, allowed * (1 + fabs(scale[c])));                  \
        }                                                                                                       \
      near("by bias", c, sums[c], by_bias, 1e-5 * (1 + (double)rows));                                          \
      near("by weight", c, sums[channels + c], by_weight, 1e-5 * (1 + (double)rows));                           \
    }                                                                                                           \
    void *made[] = {x, residual, gradient, y, back, masked, first, mean, variance, inverse, scale, bias, partial, sums}; \
    for (unsigned at = 0; at < sizeof made / sizeof *made; at++) free(made[at]);                                \
  }
CHECK(f32)
CHECK(bf16)

#define CHECK_OTHERS(TYPE)                                                                                      \
  static void check_others_##TYPE(count images, count pixels, count channels, count lanes, double allowed) {    \
    count rows = images * pixels, all = rows * channels, image = pixels * channels;                             \
    TYPE *x = room(all), *gradient = room(all), *y = room(all), *back = room(all), *straight = room(all);       \
    float *slope = room(channels), *bias = room(channels), *keep = room(images), *partial = room(lanes * 2 * channels), \
          *mean = room(rows), *inverse = room(rows);                                                            \
    for (count at = 0; at < all; at++) {                                                                        \
      store_##TYPE(x, at, (float)(3 * draw()));                                                                 \
      store_##TYPE(gradient, at, (float)draw());                                                                \
      store_##TYPE(straight, at, (float)draw());                                                                \
    }                                                                                                           \
    for (count c = 0; c < channels; c++) slope[c] = (float)draw(), bias[c] = (float)draw();                     \
    for (count at = 0; at < images; at++) keep[at] = at % 3 ? 1.25f : 0.f;                                      \
    double wide = 1e-5 * (1 + (double)rows);                                                                    \
    for (int what = 0; what < 5; what++) {                                                                      \
      count width = what == 4 ? 2 * channels : channels;                                                        \
      if (what == 0) RUN(lanes * channels, columns_##TYPE(rows, channels, lanes, gradient, partial));           \
      if (what == 1) {                                                                                          \
        RUN(all, prelu_##TYPE(all, channels, x, slope, y));                                                     \
        RUN(lanes * channels, prelu_back_##TYPE(rows, channels, lanes, gradient, x, slope, partial, back));     \
      }                                                                                                         \
      if (what == 2) {                                                                                          \
        RUN(all, gelu_##TYPE(all, x, y));                                                                       \
        RUN(all, gelu_back_##TYPE(all, gradient, x, back));                                                     \
      }                                                                                                         \
      if (what == 3) {                                                                                          \
        RUN(all, scaled_sum_##TYPE(all, channels, image, straight, x, slope, keep, y));                         \
        RUN(lanes * channels, scaled_back_##TYPE(rows, channels, lanes, image, gradient, x, slope, keep, partial, back)); \
      }                                                                                                         \
      if (what == 4) {                                                                                          \
        RUN(rows, layer_norm_##TYPE(rows, channels, x, slope, bias, 1e-6f, mean, inverse, y));                  \
        RUN(lanes * channels, layer_sums_##TYPE(rows, channels, lanes, gradient, x, mean, inverse, partial));   \
        RUN(rows, layer_back_##TYPE(rows, channels, gradient, x, slope, mean, inverse, back));                  \
      }                                                                                                         \
      float *sums = folded(partial, lanes, width);                                                              \
      double *by = calloc(2 * channels, sizeof(double));                                                        \
      if (!by) exit(2);                                                                                         \
      for (count row = 0; row < rows; row++) {                                                                  \
        double centre = 0, spread = 0, level = 0, inclined = 0;                                                 \
        for (count c = 0; c < channels; c++) centre += load_##TYPE(x, row * channels + c) / (double)channels;   \
        for (count c = 0; c < channels; c++)                                                                    \
          spread += pow(load_##TYPE(x, row * channels + c) - centre, 2) / (double)channels;                     \
        double factor = 1 / sqrt(spread + 1e-6);                                                                \
        for (count c = 0; c < channels; c++) {                                                                  \
          double given = load_##TYPE(gradient, row * channels + c) * (double)slope[c] / (double)channels;       \
          level += given;                                                                                       \
          inclined += given * (load_##TYPE(x, row * channels + c) - centre) * factor;                           \
        }                                                                                                       \
        for (count c = 0; c < channels; c++) {                                                                  \
          count at = row * channels + c;                                                                        \
          double v = load_##TYPE(x, at), given = load_##TYPE(gradient, at), value = 0, wanted = 0;              \
          double kept = keep[row / pixels];                                                                     \
          if (what == 0) by[c] += given;                                                                        \
          if (what == 1) value = v > 0 ? v : v * slope[c], wanted = v > 0 ? given : given * slope[c];           \
          if (what == 1) by[c] += v > 0 ? 0 : given * v;                                                        \
          if (what == 2) value = v * 0.5 * erfc(-v / sqrt(2));                                                  \
          if (what == 2) wanted = given * (0.5 * erfc(-v / sqrt(2)) + v * exp(-v * v / 2) / sqrt(2 * 3.14159265358979)); \
          if (what == 3) value = load_##TYPE(straight, at) + v * slope[c] * kept, wanted = given * slope[c] * kept; \
          if (what == 3) by[c] += given * v * kept;                                                             \
          double normal = (v - centre) * factor;                                                                \
          if (what == 4) value = normal * slope[c] + bias[c];                                                   \
          if (what == 4) wanted = (given * slope[c] - level - normal * inclined) * factor;                      \
          if (what == 4) by[c] += given, by[channels + c] += given * normal;                                    \
          if (what == 0) continue;                                                                              \
          near(names[what], at, load_##TYPE(y, at), value, allowed * (1 + fabs(value)));                        \
          near(names[what], at, load_##TYPE(back, at), wanted, allowed * (1 + fabs(wanted) + factor));          \
        }                                                                                                       \
      }                                                                                                         \
      for (count c = 0; c < width && what != 2; c++) near(names[what], c, sums[c], by[c], wide);                \
      free(by);                                                                                                 \
      free(sums);                                                                                               \
    }                                                                                                           \
    void *made[] = {x, gradient, y, back, straight, slope, bias, keep, partial, mean, inverse};                 \
    for (unsigned at = 0; at < sizeof made / sizeof *made; at++) free(made[at]);                                \
  }
static const char *const names[] = {"columns", "PReLU", "GELU", "scaled sum", "layer norm"};
CHECK_OTHERS(f32)
CHECK_OTHERS(bf16)

static void check_rounding(void) {
  const struct { float value; unsigned bits; } known[] = {
      {1.f, 0x3f80}, {-2.f, 0xc000}, {1.00390625f, 0x3f80}, {1.01171875f, 0x3f82}, {3.4e38f, 0x7f80}, {0.f, 0},
      {INFINITY, 0x7f80}, {-INFINITY, 0xff80}, {1e-40f, 0x0001}};
  bf16 made;
  for (unsigned at = 0; at < sizeof known / sizeof *known; at++) {
    store_bf16(&made, 0, known[at].value);
    near("rounded", at, made, known[at].bits, 0);
  }
  store_bf16(&made, 0, NAN);
  if (load_bf16(&made, 0) == load_bf16(&made, 0)) exit(3);
}

int main(void) {
  check_rounding();
  for (int added = 0; added < 2; added++)
    for (int limits = 0; limits < 3; limits++) {
      check_f32(7, 5, 3, 0, added, limits, 1e-5);
      check_f32(1000, 37, 100, 0, added, limits, 1e-5);
      check_f32(500, 3, 500, 50, added, limits, 1e-4);
      check_bf16(301, 19, 64, 1, added, limits, 8e-3);
    }
  check_others_f32(5, 7, 9, 6, 1e-5);
  check_others_f32(3, 50, 33, 40, 1e-5);
  check_others_bf16(4, 11, 20, 11, 8e-3);
  return 0;
}
