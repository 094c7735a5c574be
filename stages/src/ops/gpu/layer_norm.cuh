// Normalization of each row, by some threads of a block together.

// A block has as many rows as that many sharers of each leave room for.
#define SHARES                                                                                                  \
  count share = MEMBER % sharers, row = BLOCK * (MEMBERS_OF_BLOCK / sharers) + MEMBER / sharers;                \
  count from = row * channels

#define EACH_VECTOR for (count at = share * wide; at < channels; at += sharers * wide)

// What the sharers of a row have left in `shared`.
INLINE float joined(const float *shared, count member, count sharers) {
  float sum = 0;
  for (count other = 0; other < sharers; other++) sum += shared[member - member % sharers + other];
  return sum;
}

#define LAYER_NORM(TAG, TYPE, WIDE)                                                                             \
  /* Mean and 1 / deviation of each row, and the normalized row. */                                             \
  TOGETHER layer_norm_##TAG(count rows, count channels, count sharers, const TYPE *x, const float *weight,      \
                            const float *bias, float epsilon, float *mean, float *inverse, TYPE *y) {           \
    SHARED float sums[MEMBERS_OF_BLOCK];                                                                        \
    SHARED float squares[MEMBERS_OF_BLOCK];                                                                     \
    const count wide = WIDE;                                                                                    \
    MEMBERS {                                                                                                   \
      SHARES;                                                                                                   \
      float values[WIDE], sum = 0;                                                                              \
      if (row < rows)                                                                                           \
        EACH_VECTOR {                                                                                           \
          take_##TAG(x, from + at, values);                                                                     \
          EACH_NUMBER sum += values[i];                                                                         \
        }                                                                                                       \
      sums[MEMBER] = sum;                                                                                       \
    }                                                                                                           \
    MEET MEMBERS {                                                                                              \
      SHARES;                                                                                                   \
      float values[WIDE], centre = joined(sums, MEMBER, sharers) / (float)channels, sum = 0;                    \
      if (row < rows)                                                                                           \
        EACH_VECTOR {                                                                                           \
          take_##TAG(x, from + at, values);                                                                     \
          EACH_NUMBER sum += (values[i] - centre) * (values[i] - centre);                                       \
        }                                                                                                       \
      squares[MEMBER] = sum;                                                                                    \
    }                                                                                                           \
    MEET MEMBERS {                                                                                              \
      SHARES;                                                                                                   \
      if (row < rows) {                                                                                         \
        float values[WIDE], factors[WIDE], levels[WIDE];                                                        \
        float centre = joined(sums, MEMBER, sharers) / (float)channels;                                         \
        float factor = 1.f / sqrtf(joined(squares, MEMBER, sharers) / (float)channels + epsilon);               \
        if (share == 0) mean[row] = centre, inverse[row] = factor;                                              \
        EACH_VECTOR {                                                                                           \
          take_##TAG(x, from + at, values);                                                                     \
          floats_##WIDE(weight, at, factors);                                                                   \
          floats_##WIDE(bias, at, levels);                                                                      \
          EACH_NUMBER values[i] = (values[i] - centre) * factor * factors[i] + levels[i];                       \
          put_##TAG(y, from + at, values);                                                                      \
        }                                                                                                       \
      }                                                                                                         \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  TOGETHER layer_back_##TAG(count rows, count channels, count sharers, const TYPE *gradient, const TYPE *x,     \
                            const float *weight, const float *mean, const float *inverse, TYPE *back) {         \
    SHARED float levels[MEMBERS_OF_BLOCK];                                                                      \
    SHARED float slopes[MEMBERS_OF_BLOCK];                                                                      \
    const count wide = WIDE;                                                                                    \
    MEMBERS {                                                                                                   \
      SHARES;                                                                                                   \
      float given[WIDE], values[WIDE], factors[WIDE], level = 0, slope = 0;                                     \
      if (row < rows) {                                                                                         \
        float centre = mean[row];                                                                               \
        EACH_VECTOR {                                                                                           \
          take_##TAG(gradient, from + at, given);                                                               \
          take_##TAG(x, from + at, values);                                                                     \
          floats_##WIDE(weight, at, factors);                                                                   \
          EACH_NUMBER {                                                                                         \
            float value = product(given[i], factors[i]);                                                        \
            level += value;                                                                                     \
            slope += value * (values[i] - centre);                                                              \
          }                                                                                                     \
        }                                                                                                       \
        slope *= inverse[row];                                                                                  \
      }                                                                                                         \
      levels[MEMBER] = level;                                                                                   \
      slopes[MEMBER] = slope;                                                                                   \
    }                                                                                                           \
    MEET MEMBERS {                                                                                              \
      SHARES;                                                                                                   \
      if (row < rows) {                                                                                         \
        float given[WIDE], values[WIDE], factors[WIDE], centre = mean[row], factor = inverse[row];              \
        float level = joined(levels, MEMBER, sharers) / (float)channels;                                        \
        float slope = joined(slopes, MEMBER, sharers) / (float)channels;                                        \
        EACH_VECTOR {                                                                                           \
          take_##TAG(gradient, from + at, given);                                                               \
          take_##TAG(x, from + at, values);                                                                     \
          floats_##WIDE(weight, at, factors);                                                                   \
          EACH_NUMBER values[i] =                                                                               \
              (product(given[i], factors[i]) - level - (values[i] - centre) * factor * slope) * factor;         \
          put_##TAG(back, from + at, values);                                                                   \
        }                                                                                                       \
      }                                                                                                         \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* Sums of the gradient, and of it times the normalized x, over the rows of a part: [parts, 2, channels]. */  \
  TOGETHER layer_sums_##TAG(count rows, count channels, count parts, const TYPE *gradient, const TYPE *x,       \
                            const float *mean, const float *inverse, float *partial) {                          \
    SHARED float shared[2 * MEMBERS_OF_BLOCK * WIDE];                                                           \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float by_bias[WIDE], by_weight[WIDE], given[WIDE], values[WIDE];                                          \
      EACH_NUMBER by_bias[i] = by_weight[i] = 0;                                                                \
      if (busy)                                                                                                 \
        EACH_ROWS(ROWS) {                                                                                       \
          FETCH_BOTH(TAG, gradient, x)                                                                          \
          EACH_TURN(ROWS) if (ROW < rows) {                                                                     \
            float centre = mean[ROW], factor = inverse[ROW];                                                    \
            OPEN_BOTH(TAG);                                                                                     \
            EACH_NUMBER {                                                                                       \
              by_bias[i] += given[i];                                                                           \
              by_weight[i] += given[i] * (values[i] - centre) * factor;                                         \
            }                                                                                                   \
          }                                                                                                     \
        }                                                                                                       \
      EACH_NUMBER {                                                                                             \
        shared[MEMBER * wide + i] = by_bias[i];                                                                 \
        shared[(MEMBERS_OF_BLOCK + MEMBER) * wide + i] = by_weight[i];                                          \
      }                                                                                                         \
    }                                                                                                           \
    LANES_TO(partial, 2)                                                                                        \
  }
EVERY_WAY(LAYER_NORM)
