// Element by element: PReLU, GELU, the end of a residual branch; and sums over all rows.

// The share of a normal distribution below x, and exp(-x² / 2), as gelu.rs has them for the CPU: the polynomial is
// in 1 / (1 + 0.4 |x|).
INLINE float share_below(float x, float *falling) {
  float t = 1.f / (1.f + 0.4f * fabsf(x)), tail = 0.03039397f;
  tail = tail * t - 0.16836043f;
  tail = tail * t + 0.36573693f;
  tail = tail * t - 0.35620174f;
  tail = tail * t + 0.10801751f;
  tail = tail * t - 0.022345021f;
  tail = tail * t + 0.09029186f;
  tail = tail * t + 0.13327035f;
  tail = tail * t + 0.15962066f;
  tail = tail * t + 0.15957591f;
  *falling = expf(-0.5f * x * x);
  float below = tail * t * *falling;
  return x > 0 ? 1.f - below : below;
}

#define ACTIVATIONS(TAG, TYPE, WIDE)                                                                            \
  /* Sums over the rows of a part: partial [parts, channels]. */                                                \
  TOGETHER columns_##TAG(count rows, count channels, count parts, const TYPE *x, float *partial) {              \
    SHARED float shared[MEMBERS_OF_BLOCK * WIDE];                                                               \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float sum[WIDE], values[WIDE];                                                                            \
      EACH_NUMBER sum[i] = 0;                                                                                   \
      if (busy)                                                                                                 \
        EACH_ROWS(ROWS) {                                                                                       \
          raw_##TAG raw[ROWS];                                                                                  \
          EACH_TURN(ROWS) raw[turn] = fetch_##TAG(x, FETCHED);                                                  \
          EACH_TURN(ROWS) if (ROW < rows) {                                                                     \
            open_##TAG(raw[turn], values);                                                                      \
            EACH_NUMBER sum[i] += values[i];                                                                    \
          }                                                                                                     \
        }                                                                                                       \
      EACH_NUMBER shared[MEMBER * wide + i] = sum[i];                                                           \
    }                                                                                                           \
    LANES_TO(partial, 1)                                                                                        \
  }                                                                                                             \
                                                                                                                \
  /* y = limits(x + bias + residual), each where there is one. */                                               \
  KERNEL finish_##TAG(count rows, count channels, count parts, const TYPE *x, int biased, const float *bias,    \
                      int added, const TYPE *residual, float lowest, float highest, TYPE *y) {                  \
    TILES(WIDE);                                                                                                \
    PLACE;                                                                                                      \
    if (!busy) return;                                                                                          \
    float level[WIDE], values[WIDE], others[WIDE];                                                              \
    EACH_NUMBER level[i] = others[i] = 0;                                                                       \
    if (biased) floats_##WIDE(bias, channel, level);                                                            \
    EACH_ROWS(ROWS) {                                                                                           \
      FETCH_WITH(TAG, x, residual)                                                                              \
      EACH_TURN(ROWS) if (ROW < rows) {                                                                         \
        OPEN_WITH(TAG);                                                                                         \
        EACH_NUMBER {                                                                                           \
          float value = values[i] + level[i] + others[i];                                                       \
          value = value < lowest ? lowest : value;                                                              \
          values[i] = value > highest ? highest : value;                                                        \
        }                                                                                                       \
        put_##TAG(y, ROW * channels + channel, values);                                                         \
      }                                                                                                         \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  KERNEL prelu_##TAG(count rows, count channels, count parts, const TYPE *x, const float *slope, TYPE *y) {     \
    TILES(WIDE);                                                                                                \
    PLACE;                                                                                                      \
    if (!busy) return;                                                                                          \
    float bend[WIDE], values[WIDE];                                                                             \
    floats_##WIDE(slope, channel, bend);                                                                        \
    EACH_ROWS(ROWS) {                                                                                           \
      raw_##TAG raw[ROWS];                                                                                      \
      EACH_TURN(ROWS) raw[turn] = fetch_##TAG(x, FETCHED);                                                      \
      EACH_TURN(ROWS) if (ROW < rows) {                                                                         \
        open_##TAG(raw[turn], values);                                                                          \
        EACH_NUMBER values[i] = values[i] > 0 ? values[i] : values[i] * bend[i];                                \
        put_##TAG(y, ROW * channels + channel, values);                                                         \
      }                                                                                                         \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by x, and sums of that by the slope over the rows of a part: partial [parts, channels]. */    \
  TOGETHER prelu_back_##TAG(count rows, count channels, count parts, const TYPE *gradient, const TYPE *x,       \
                            const float *slope, float *partial, TYPE *back) {                                   \
    SHARED float shared[MEMBERS_OF_BLOCK * WIDE];                                                               \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float bend[WIDE], sum[WIDE], given[WIDE], values[WIDE];                                                   \
      EACH_NUMBER sum[i] = 0;                                                                                   \
      if (busy) {                                                                                               \
        floats_##WIDE(slope, channel, bend);                                                                    \
        EACH_ROWS(ROWS) {                                                                                       \
          FETCH_BOTH(TAG, gradient, x)                                                                          \
          EACH_TURN(ROWS) if (ROW < rows) {                                                                     \
            OPEN_BOTH(TAG);                                                                                     \
            EACH_NUMBER {                                                                                       \
              sum[i] += values[i] > 0 ? 0.f : given[i] * values[i];                                             \
              values[i] = values[i] > 0 ? given[i] : given[i] * bend[i];                                        \
            }                                                                                                   \
            put_##TAG(back, ROW * channels + channel, values);                                                  \
          }                                                                                                     \
        }                                                                                                       \
      }                                                                                                         \
      EACH_NUMBER shared[MEMBER * wide + i] = sum[i];                                                           \
    }                                                                                                           \
    LANES_TO(partial, 1)                                                                                        \
  }                                                                                                             \
                                                                                                                \
  KERNEL gelu_##TAG(count all, const TYPE *x, TYPE *y) {                                                        \
    const count wide = WIDE;                                                                                    \
    count at = THREAD * wide;                                                                                   \
    if (at >= all) return;                                                                                      \
    float values[WIDE], falling;                                                                                \
    take_##TAG(x, at, values);                                                                                  \
    EACH_NUMBER values[i] *= share_below(values[i], &falling);                                                  \
    put_##TAG(y, at, values);                                                                                   \
  }                                                                                                             \
                                                                                                                \
  KERNEL gelu_back_##TAG(count all, const TYPE *gradient, const TYPE *x, TYPE *back) {                          \
    const count wide = WIDE;                                                                                    \
    count at = THREAD * wide;                                                                                   \
    if (at >= all) return;                                                                                      \
    float values[WIDE], given[WIDE], falling;                                                                   \
    take_##TAG(x, at, values);                                                                                  \
    take_##TAG(gradient, at, given);                                                                            \
    EACH_NUMBER {                                                                                               \
      float share = share_below(values[i], &falling);                                                           \
      values[i] = given[i] * (share + values[i] * falling * 0.39894228f);                                       \
    }                                                                                                           \
    put_##TAG(back, at, values);                                                                                \
  }                                                                                                             \
                                                                                                                \
  /* straight + keep * scale * branch; `pixels` rows belong to each of `keep`. */                               \
  KERNEL scaled_sum_##TAG(count rows, count channels, count parts, count pixels, const TYPE *straight,          \
                          const TYPE *branch, const float *scale, const float *keep, TYPE *y) {                 \
    TILES(WIDE);                                                                                                \
    PLACE;                                                                                                      \
    if (!busy) return;                                                                                          \
    float factors[WIDE], values[WIDE], others[WIDE];                                                            \
    floats_##WIDE(scale, channel, factors);                                                                     \
    EACH_ROWS(ROWS) {                                                                                           \
      raw_##TAG raw[ROWS], other[ROWS];                                                                         \
      EACH_TURN(ROWS) {                                                                                         \
        raw[turn] = fetch_##TAG(branch, FETCHED);                                                               \
        other[turn] = fetch_##TAG(straight, FETCHED);                                                           \
      }                                                                                                         \
      EACH_TURN(ROWS) if (ROW < rows) {                                                                         \
        float kept = keep[ROW / pixels];                                                                        \
        open_##TAG(raw[turn], values);                                                                          \
        open_##TAG(other[turn], others);                                                                        \
        EACH_NUMBER values[i] = others[i] + values[i] * (factors[i] * kept);                                    \
        put_##TAG(y, ROW * channels + channel, values);                                                         \
      }                                                                                                         \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by the branch, and sums of that by the scale over the rows of a part. */                      \
  TOGETHER scaled_back_##TAG(count rows, count channels, count parts, count pixels, const TYPE *gradient,       \
                             const TYPE *branch, const float *scale, const float *keep, float *partial,         \
                             TYPE *back) {                                                                      \
    SHARED float shared[MEMBERS_OF_BLOCK * WIDE];                                                               \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float factors[WIDE], sum[WIDE], given[WIDE], values[WIDE];                                                \
      EACH_NUMBER sum[i] = 0;                                                                                   \
      if (busy) {                                                                                               \
        floats_##WIDE(scale, channel, factors);                                                                 \
        EACH_ROWS(ROWS) {                                                                                       \
          FETCH_BOTH(TAG, gradient, branch)                                                                     \
          EACH_TURN(ROWS) if (ROW < rows) {                                                                     \
            float kept = keep[ROW / pixels];                                                                    \
            OPEN_BOTH(TAG);                                                                                     \
            EACH_NUMBER {                                                                                       \
              sum[i] += given[i] * kept * values[i];                                                            \
              values[i] = given[i] * kept * factors[i];                                                         \
            }                                                                                                   \
            put_##TAG(back, ROW * channels + channel, values);                                                  \
          }                                                                                                     \
        }                                                                                                       \
      }                                                                                                         \
      EACH_NUMBER shared[MEMBER * wide + i] = sum[i];                                                           \
    }                                                                                                           \
    LANES_TO(partial, 1)                                                                                        \
  }
EVERY_WAY(ACTIVATIONS)
