/* Vectors of floats, what an LSTM computes of them, and sums of products in tiles that fill the registers. */
#include <stdint.h>

/* Whoever includes this says how many ROWS and VECTORS a tile has: 4 x 3 or 6 x 2, as many sums as registers hold. */
#define LANES 8
#define ALWAYS static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 6")

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t whole_lanes __attribute__((vector_size(4 * LANES), aligned(4)));

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define NEEDS_AVX2
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

ALWAYS lanes load(const float *at) { return *(const lanes *)at; }
ALWAYS void store(float *at, lanes value) { *(lanes *)at = value; }
/* Lane by lane; compilers make one instruction of each. */
ALWAYS lanes larger(lanes one, lanes other) {
    lanes most;
    for (int lane = 0; lane < LANES; lane++) most[lane] = one[lane] < other[lane] ? other[lane] : one[lane];
    return most;
}
ALWAYS lanes smaller(lanes one, lanes other) {
    lanes least;
    for (int lane = 0; lane < LANES; lane++) least[lane] = one[lane] > other[lane] ? other[lane] : one[lane];
    return least;
}
ALWAYS lanes within(lanes value, float most) { return larger(smaller(value, (lanes){} + most), (lanes){} - most); }

/* 2 to the exponent, above -126 and below 128: a minimax polynomial for what is left of whole numbers, 7e-8 off. */
ALWAYS lanes power_of_two(lanes exponent) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded, and lies in the lowest bits */
    lanes rounded = exponent + magic, rest = exponent - (rounded - magic);
    lanes sum = 0.001327647152f * rest + 0.009675541331f;
    sum = sum * rest + 0.05550713275f;
    sum = sum * rest + 0.2402211972f;
    sum = sum * rest + 0.6931469671f;
    sum = sum * rest + 1.000000072f;
    return (lanes)((whole_lanes)sum + ((whole_lanes)rounded << 23));
}

/* e to the -value or -2 value. Beyond the limits nothing changes in fp32, and two of these may be multiplied. */
ALWAYS lanes decay(lanes value) { return power_of_two(within(value, 30) * -1.442695041f); }
ALWAYS lanes decay_twice(lanes value) { return power_of_two(within(value, 10) * -2.885390082f); }
ALWAYS lanes sigmoid_of(lanes value) { return 1 / (1 + decay(value)); }
ALWAYS lanes tanh_of(lanes value) {
    lanes small = decay_twice(value);
    return (1 - small) / (1 + small);
}

/* Two-dimensional floats: element (row, column) lies at row * down + column * across. */
typedef struct {
    const float *at;
    int down, across;
} Matrix;

/* A tile of out = start + in x weights; `in` begins at the tile's row, weights and the others at its column too. */
ALWAYS void tile(const int rows, const int vectors, Matrix in, int inputs, const float *weights, int weights_down,
                 const float *start, int start_down, float *out, int out_down) {
    lanes sums[ROWS][VECTORS];
    UNROLLED for (int row = 0; row < rows; row++)
        UNROLLED for (int vector = 0; vector < vectors; vector++)
            sums[row][vector] = load(start + row * start_down + vector * LANES);
    for (int input = 0; input < inputs; input++, weights += weights_down)
        UNROLLED for (int row = 0; row < rows; row++)
            UNROLLED for (int vector = 0; vector < vectors; vector++)
                sums[row][vector] += in.at[row * in.down + input * in.across] * load(weights + vector * LANES);
    UNROLLED for (int row = 0; row < rows; row++)
        UNROLLED for (int vector = 0; vector < vectors; vector++) store(out + row * out_down + vector * LANES, sums[row][vector]);
}

/* How many vectors a tile takes, of so many left: one more than fit in two halves, for a single one would not fill the units. */
ALWAYS int taken(int left) { return left == VECTORS + 1 ? 2 : left < VECTORS ? left : VECTORS; }

/* out (rows, outputs) = start + in (rows, inputs) x weights (inputs, outputs). Outputs fill whole vectors.
 * packed: the weights of each tile's columns lie together, as `pack` leaves them. */
ALWAYS void affine(const int packed, Matrix in, int rows, int inputs, const float *weights, int outputs,
                   const float *start, int start_down, float *out, int out_down) {
    for (int column = 0, vectors; column < outputs; column += vectors * LANES) {
        vectors = taken((outputs - column) / LANES);
        const float *of_tile = weights + (packed ? column * inputs : column);
        int weights_down = packed ? vectors * LANES : outputs;
        for (int row = 0, height, tiles = (rows + ROWS - 1) / ROWS; row < rows; row += height, tiles--) {
            height = (rows - row + tiles - 1) / tiles; /* 10 rows as 5 and 5, not as 6 and 4 */
            Matrix from = {in.at + row * in.down, in.down, in.across};
#define TILE(ROWS_, VECTORS_)                                                                                          \
    case ROWS_ * 4 + VECTORS_:                                                                                         \
        tile(ROWS_, VECTORS_, from, inputs, of_tile, packed ? VECTORS_ * LANES : weights_down,                         \
             start + row * start_down + column, start_down, out + row * out_down + column, out_down);                  \
        break;
            switch (height * 4 + vectors) {
                TILE(4, 2) TILE(4, 1) TILE(3, 2) TILE(3, 1) TILE(2, 2) TILE(2, 1) TILE(1, 2) TILE(1, 1)
#if ROWS == 6
                TILE(6, 2) TILE(6, 1) TILE(5, 2) TILE(5, 1)
#else
                TILE(4, 3) TILE(3, 3) TILE(2, 3) TILE(1, 3)
#endif
            }
        }
    }
}
