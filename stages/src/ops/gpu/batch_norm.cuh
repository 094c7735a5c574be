// Batch norm with what may follow it: a residual and limits, or a slope below 0.

// What follows from the sums of a batch for each channel: its mean, 1 / deviation, and that times the weight. The
// running statistics move towards it; `unbiased` is rows / (rows - 1).
TOGETHER moments(count rows, count channels, count parts, const float *partial, const float *first,
                 const float *weight, float epsilon, float momentum, float unbiased, float *running_mean,
                 float *running_variance, float *mean, float *inverse, float *scale) {
  SHARED double shared[2 * MEMBERS_OF_BLOCK];
  MEMBERS {
    count channel = BLOCK * COLUMNS + MEMBER % COLUMNS;
    double sum = 0, squares = 0;
    if (channel < channels)
      for (count part = MEMBER / COLUMNS; part < parts; part += LINES) {
        sum += partial[part * 2 * channels + channel];
        squares += partial[(part * 2 + 1) * channels + channel];
      }
    shared[MEMBER] = sum;
    shared[MEMBERS_OF_BLOCK + MEMBER] = squares;
  }
  MEET MEMBERS {
    count channel = BLOCK * COLUMNS + MEMBER;
    if (MEMBER < COLUMNS && channel < channels) {
      double sum = 0, squares = 0;
      for (count line = 0; line < LINES; line++) {
        sum += shared[line * COLUMNS + MEMBER];
        squares += shared[MEMBERS_OF_BLOCK + line * COLUMNS + MEMBER];
      }
      // the sums are of what exceeds the first value
      double centre = sum / (double)rows, spread = squares / (double)rows - centre * centre;
      // what is not a number stays
      float level = (float)(first[channel] + centre), variance = spread < 0 ? 0.f : (float)spread;
      float factor = 1.f / sqrtf(variance + epsilon);
      mean[channel] = level;
      inverse[channel] = factor;
      scale[channel] = weight[channel] * factor;
      running_mean[channel] = running_mean[channel] * (1.f - momentum) + level * momentum;
      running_variance[channel] = running_variance[channel] * (1.f - momentum) + variance * unbiased * momentum;
    }
  }
}

// What a norm makes of a number, within the limits and bent below 0.
INLINE float bent_within(float value, float lowest, float highest, float bend) {
  // what is not a number is neither, and stays
  value = value < lowest ? lowest : value;
  value = value > highest ? highest : value;
  return value > 0 ? value : value * bend;
}
#define RESULT                                                                                                  \
  bent_within((values[i] - centre[i]) * factor[i] + level[i] + others[i], lowest, highest, bend[i])
// What that is made with, for the channels of a thread.
#define FACTORS(WIDE)                                                                                           \
  float centre[WIDE], factor[WIDE], level[WIDE], bend[WIDE], values[WIDE], others[WIDE];                        \
  floats_##WIDE(mean, channel, centre);                                                                         \
  floats_##WIDE(scale, channel, factor);                                                                        \
  floats_##WIDE(bias, channel, level);                                                                          \
  EACH_NUMBER bend[i] = 1, others[i] = 0;                                                                       \
  if (bent) floats_##WIDE(slope, channel, bend)

// Statistics: what differs from near numbers, and its square, are added up, and kept for LANES_TO.
#define ADD_APART(NEAR)                                                                                         \
  EACH_NUMBER {                                                                                                 \
    float apart = values[i] - NEAR[i];                                                                          \
    sum[i] += apart;                                                                                            \
    squares[i] += apart * apart;                                                                                \
  }
#define KEEP_APART                                                                                              \
  EACH_NUMBER {                                                                                                 \
    shared[MEMBER * wide + i] = sum[i];                                                                         \
    shared[(MEMBERS_OF_BLOCK + MEMBER) * wide + i] = squares[i];                                                \
  }

// The gradient by a number that was normalized, from that by the result.
#define CARRIED_BACK(GRADIENT, APART) (((GRADIENT) - even[i] - (APART) * tilt[i]) * factor[i] + others[i])

// What else there is of a gradient (`added`, of `other`): as much of it, or, where SEEN, what a convolution gives by the
// pixels that it saw, every so many-th.
#define SEEN 2
#define WHAT_ELSE(TYPE)                                                                                         \
  int added, const TYPE *other, count height, count width, count lines, count places, count stride_down,        \
      count stride_right
// Fetches it for a turn, if there is any there.
#define FETCH_ELSE(TAG)                                                                                         \
  count at = ROW < rows ? ROW : row;                                                                            \
  there[turn] = added;                                                                                          \
  if (added == SEEN) {                                                                                          \
    count column = at % width, line = at / width % height;                                                      \
    there[turn] = column % stride_right == 0 && line % stride_down == 0;                                        \
    at = (at / width / height * lines + line / stride_down) * places + column / stride_right;                   \
  }                                                                                                             \
  if (there[turn]) more[turn] = fetch_##TAG(other, at * channels + channel)
#define OPEN_ELSE(TAG)                                                                                          \
  EACH_NUMBER others[i] = 0;                                                                                    \
  if (there[turn]) open_##TAG(more[turn], others)

// How a gradient is kept from what lies beyond the limits.
#define BY_RESULT 1 // where the result, which was kept, is at one
#define BY_X 2      // where what follows from x is beyond one

#define NORM(TAG, TYPE, WIDE)                                                                                   \
  /* Sums and sums of squares over the rows of a part: partial [parts, 2, channels]. Near the first value of a  \
     channel lie its others: sums of differences from it lose little. */                                        \
  TOGETHER statistics_##TAG(count rows, count channels, count parts, const TYPE *x, float *first,               \
                            float *partial) {                                                                   \
    SHARED float shared[2 * MEMBERS_OF_BLOCK * WIDE];                                                           \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float centre[WIDE], sum[WIDE], squares[WIDE], values[WIDE];                                               \
      EACH_NUMBER sum[i] = squares[i] = 0;                                                                      \
      if (busy) {                                                                                               \
        take_##TAG(x, channel, centre);                                                                         \
        EACH_ROWS(ROWS) {                                                                                       \
          raw_##TAG raw[ROWS];                                                                                  \
          EACH_TURN(ROWS) raw[turn] = fetch_##TAG(x, FETCHED);                                                  \
          EACH_TURN(ROWS) if (ROW < rows) {                                                                     \
            open_##TAG(raw[turn], values);                                                                      \
            ADD_APART(centre)                                                                                   \
          }                                                                                                     \
        }                                                                                                       \
        if (part == 0 && lane == 0) EACH_NUMBER first[channel + i] = centre[i];                                 \
      }                                                                                                         \
      KEEP_APART                                                                                                \
    }                                                                                                           \
    LANES_TO(partial, 2)                                                                                        \
  }                                                                                                             \
                                                                                                                \
  /* y = limits((x - mean) * scale + bias + residual), or that bent below 0 by a slope. */                      \
  KERNEL normalize_##TAG(count rows, count channels, count parts, const TYPE *x, const float *mean,             \
                         const float *scale, const float *bias, int added, const TYPE *residual, int bent,      \
                         const float *slope, float lowest, float highest, TYPE *y) {                            \
    TILES(WIDE);                                                                                                \
    PLACE;                                                                                                      \
    if (!busy) return;                                                                                          \
    FACTORS(WIDE);                                                                                              \
    EACH_ROWS(ROWS) {                                                                                           \
      FETCH_WITH(TAG, x, residual)                                                                              \
      EACH_TURN(ROWS) if (ROW < rows) {                                                                         \
        OPEN_WITH(TAG);                                                                                         \
        EACH_NUMBER values[i] = RESULT;                                                                         \
        put_##TAG(y, ROW * channels + channel, values);                                                         \
      }                                                                                                         \
    }                                                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* Sums over the rows of a part of the gradient by what the norm gave, of that times the normalized x, and,   \
     where there is a slope, of the gradient by it: partial [parts, 2 or 3, channels]. The gradient itself,     \
     within the limits, is what a residual gets where `passed`. */                                              \
  TOGETHER back_sums_##TAG(count rows, count channels, count parts, const TYPE *gradient, const TYPE *x,        \
                           const float *mean, const float *inverse, const float *scale, const float *bias,      \
                           int limits, const TYPE *y, float lowest, float highest, int bent,                    \
                           const float *slope, int passed, TYPE *masked, float *partial) {                      \
    SHARED float shared[3 * MEMBERS_OF_BLOCK * WIDE];                                                           \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float centre[WIDE], factor[WIDE], level[WIDE], bend[WIDE], sums[3][WIDE];                                 \
      EACH_NUMBER sums[0][i] = sums[1][i] = sums[2][i] = 0, factor[i] = 0, bend[i] = 1;                         \
      if (busy) {                                                                                               \
        float given[WIDE], values[WIDE], results[WIDE];                                                         \
        floats_##WIDE(mean, channel, centre);                                                                   \
        floats_##WIDE(scale, channel, factor);                                                                  \
        floats_##WIDE(bias, channel, level);                                                                    \
        EACH_NUMBER results[i] = 0;                                                                             \
        if (bent) floats_##WIDE(slope, channel, bend);                                                          \
        EACH_ROWS(FEW) {                                                                                        \
          raw_##TAG raw[FEW], back[FEW], result[FEW];                                                           \
          EACH_TURN(FEW) {                                                                                      \
            back[turn] = fetch_##TAG(gradient, FETCHED);                                                        \
            raw[turn] = fetch_##TAG(x, FETCHED);                                                                \
            if (limits == BY_RESULT) result[turn] = fetch_##TAG(y, FETCHED);                                    \
          }                                                                                                     \
          EACH_TURN(FEW) if (ROW < rows) {                                                                      \
            open_##TAG(back[turn], given);                                                                      \
            open_##TAG(raw[turn], values);                                                                      \
            if (limits == BY_RESULT) open_##TAG(result[turn], results);                                         \
            EACH_NUMBER {                                                                                       \
              float apart = values[i] - centre[i], normal = apart * factor[i] + level[i];                       \
              float by = limits == BY_RESULT ? results[i] : normal;                                             \
              float value = !limits || (by > lowest && by < highest) ? given[i] : 0.f;                          \
              given[i] = value;                                                                                 \
              sums[2][i] += normal > 0 ? 0.f : value * normal;                                                  \
              value = normal > 0 ? value : value * bend[i];                                                     \
              sums[0][i] += value;                                                                              \
              sums[1][i] += value * apart;                                                                      \
            }                                                                                                   \
            if (passed) put_##TAG(masked, ROW * channels + channel, given);                                     \
          }                                                                                                     \
        }                                                                                                       \
        floats_##WIDE(inverse, channel, factor);                                                                \
      }                                                                                                         \
      EACH_NUMBER {                                                                                             \
        shared[MEMBER * wide + i] = sums[0][i];                                                                 \
        shared[(MEMBERS_OF_BLOCK + MEMBER) * wide + i] = sums[1][i] * factor[i];                                \
        shared[(2 * MEMBERS_OF_BLOCK + MEMBER) * wide + i] = sums[2][i];                                        \
      }                                                                                                         \
    }                                                                                                           \
    LANES_TO(partial, (bent ? 3 : 2))                                                                           \
  }                                                                                                             \
                                                                                                                \
  /* The gradient by x, and what else there is of it (`added`). */                                              \
  KERNEL back_##TAG(count rows, count channels, count parts, const TYPE *gradient, const TYPE *x,               \
                    const float *mean, const float *inverse, const float *scale, const float *bias, int limits, \
                    float lowest, float highest, int bent, const float *slope, const float *sums,               \
                    WHAT_ELSE(TYPE), TYPE *back) {                                                              \
    TILES(WIDE);                                                                                                \
    PLACE;                                                                                                      \
    if (!busy) return;                                                                                          \
    float centre[WIDE], factor[WIDE], level[WIDE], bend[WIDE], even[WIDE], tilt[WIDE];                          \
    float given[WIDE], values[WIDE], others[WIDE];                                                              \
    floats_##WIDE(mean, channel, centre);                                                                       \
    floats_##WIDE(scale, channel, factor);                                                                      \
    floats_##WIDE(bias, channel, level);                                                                        \
    floats_##WIDE(inverse, channel, tilt);                                                                      \
    EACH_NUMBER bend[i] = 1;                                                                                    \
    if (bent) floats_##WIDE(slope, channel, bend);                                                              \
    EACH_NUMBER {                                                                                               \
      even[i] = sums[channel + i] / (float)rows;                                                                \
      tilt[i] *= sums[channels + channel + i] / (float)rows;                                                    \
    }                                                                                                           \
    EACH_ROWS(FEW) {                                                                                            \
      raw_##TAG raw[FEW], back_of[FEW], more[FEW];                                                              \
      int there[FEW];                                                                                           \
      EACH_TURN(FEW) {                                                                                          \
        back_of[turn] = fetch_##TAG(gradient, FETCHED);                                                         \
        raw[turn] = fetch_##TAG(x, FETCHED);                                                                    \
        FETCH_ELSE(TAG);                                                                                        \
      }                                                                                                         \
      EACH_TURN(FEW) if (ROW < rows) {                                                                          \
        open_##TAG(back_of[turn], given);                                                                       \
        open_##TAG(raw[turn], values);                                                                          \
        OPEN_ELSE(TAG);                                                                                         \
        EACH_NUMBER {                                                                                           \
          float apart = values[i] - centre[i], normal = apart * factor[i] + level[i];                           \
          float value = !limits || (normal > lowest && normal < highest) ? given[i] : 0.f;                      \
          value = normal > 0 ? value : value * bend[i];                                                         \
          values[i] = CARRIED_BACK(value, apart);                                                               \
        }                                                                                                       \
        put_##TAG(back, ROW * channels + channel, values);                                                      \
      }                                                                                                         \
    }                                                                                                           \
  }
EVERY_WAY(NORM)
