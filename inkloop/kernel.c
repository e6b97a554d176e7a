/* A swept picture answered on one core: what ONNX Runtime computes of the same file, without a dispatch for each node.
 *
 * Sums run over whole vectors: kernel.py fills all widths up to LANES. Gates come in ONNX's order: input, output, forget,
 * change; their weights by kernel.py's EXPONENTS, so that a sum of theirs is a decay's power of two. Weights are (inputs,
 * outputs), packed for `affine`. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 6 /* a grid's 5 or 10 lines fill one tile or two */
#define VECTORS 2
#include "lanes.h"

#define MOST_LAYERS 8
#define CLASSES 10

typedef struct {
    int frame, size, margin, layers, attention, fc;
    int hidden[MOST_LAYERS];
    float scale, shift; /* from pixels 0..255 to normalized ones */
} Shape;

typedef struct {
    int down, across, width; /* float (down, across, width) */
    float *cells;
} Grid;

/* One direction of a layer, over a grid's columns or rows at once, into its half of the states. gates: scratch. */
ALWAYS const float *run(const Grid in, int across, int backward, int hidden, const float *weights, Grid out,
                        float *projected, float *gates, float *memory) {
    int cells = in.down * in.across, width = 4 * hidden, lines = across ? in.down : in.across;
    int steps = across ? in.across : in.down, step = across ? 1 : in.across, line = across ? in.across : 1;
    const float *bias = weights, *from_input = bias + width, *from_state = from_input + in.width * width;
    float *states = out.cells + backward * hidden, *last = NULL;
    affine(1, (Matrix){in.cells, in.width, 1}, cells, in.width, from_input, width, bias, 0, projected, width);
    memset(memory, 0, sizeof(float) * lines * hidden);
    for (int done = 0; done < steps; done++) {
        int first = (backward ? steps - 1 - done : done) * step;
        float *now = states + first * out.width, *inputs = projected + first * width, *sums = gates;
        int apart = width;
        if (last)
            affine(1, (Matrix){last, line * out.width, 1}, lines, hidden, from_state, width, inputs, line * width, gates, width);
        else
            sums = inputs, apart = line * width;
        for (int row = 0; row < lines; row++)
            for (int unit = 0; unit < hidden; unit += LANES) {
                const float *gate = sums + row * apart + unit;
                float *cell = memory + row * hidden + unit;
                lanes input = power_of_two(within(load(gate), 43)), output = power_of_two(within(load(gate + hidden), 43));
                lanes forget = power_of_two(within(load(gate + 2 * hidden), 43));
                lanes change = power_of_two(within(load(gate + 3 * hidden), 29));
                lanes kept = load(cell) / (1 + forget) + (1 - change) / ((1 + input) * (1 + change));
                lanes small = power_of_two(kept * -2.885390082f); /* within 2 to the 81, for no step adds more than 1 */
                store(cell, kept);
                store(now + row * line * out.width + unit, (1 - small) / ((1 + output) * (1 + small)));
            }
        last = now;
    }
    return from_state + hidden * width;
}

/* The largest of each 2 x 2 neighbors, in place. */
ALWAYS Grid halved(Grid grid) {
    Grid half = {(grid.down + 1) / 2, (grid.across + 1) / 2, grid.width, grid.cells};
    for (int y = 0; y < half.down; y++)
        for (int x = 0; x < half.across; x++)
            for (int unit = 0; unit < grid.width; unit += LANES) {
                lanes most = (lanes){} - FLT_MAX;
                for (int cell = 0; cell < 4; cell++) {
                    int below = 2 * y + cell / 2, beside = 2 * x + cell % 2;
                    if (below >= grid.down || beside >= grid.across) continue;
                    most = larger(most, load(grid.cells + (below * grid.across + beside) * grid.width + unit));
                }
                store(half.cells + (y * half.across + x) * grid.width + unit, most);
            }
    return half;
}

/* The picture's tiles with their margins, one after another. Rows are copied in whole vectors, over the next one's place. */
ALWAYS Grid tiles_of(const uint8_t *pixels, const Shape *shape, float *framed, float *cells) {
    int frame = shape->frame, size = shape->size, margin = shape->margin;
    int side = (frame + size - 1) / size, edge = size + 2 * margin, wide = side * size + 2 * margin;
    for (int pixel = 0; pixel < wide * wide; pixel++) framed[pixel] = shape->shift;
    for (int y = 0; y < frame; y++)
        for (int x = 0; x < frame; x++)
            framed[(y + margin) * wide + x + margin] = pixels[y * frame + x] * shape->scale + shape->shift;
    float *at = cells;
    for (int down = 0; down < side; down++)
        for (int across = 0; across < side; across++)
            for (int row = 0; row < edge; row++, at += edge)
                for (int column = 0; column < edge; column += LANES)
                    store(at + column, load(framed + (down * size + row) * wide + across * size + column));
    return (Grid){side, side, edge * edge, cells};
}

ALWAYS void softmax(float *values, int count) {
    float most = values[0], sum = 0, single[LANES] = {0};
    for (int place = 1; place < count; place++) most = values[place] > most ? values[place] : most;
    for (int place = 0; place < count; place++) {
        single[0] = most - values[place];
        sum += values[place] = single[0] > 30 ? 0 : decay(load(single))[0];
    }
    for (int place = 0; place < count; place++) values[place] /= sum;
}

static void answer(const uint8_t *pixels, const Shape *shape, const float *weights, float *scratch, size_t room,
                   float *probabilities, float *attention) {
    float *other = scratch + room, *projected = other + room, *gates = projected + room, *memory = gates + room;
    Grid grid = tiles_of(pixels, shape, other, scratch);
    for (int layer = 0; layer < shape->layers; layer++) {
        if (layer > 0 && layer % 2 == 0) grid = halved(grid);
        int hidden = shape->hidden[layer];
        Grid states = {grid.down, grid.across, 2 * hidden, grid.cells == scratch ? other : scratch};
        for (int backward = 0; backward < 2; backward++)
            weights = run(grid, layer % 2, backward, hidden, weights, states, projected, gates, memory);
        grid = states;
    }
    int steps = grid.down * grid.across, keys = shape->attention, fc = shape->fc;
    const float *key_bias = weights, *key = key_bias + keys, *query = key + grid.width * keys;
    const float *view_bias = query + keys, *view = view_bias + fc, *head_bias = view + grid.width * fc;
    affine(1, (Matrix){grid.cells, grid.width, 1}, steps, grid.width, key, keys, key_bias, 0, projected, keys);
    for (int step = 0; step < steps; step++) {
        lanes score = {0};
        for (int unit = 0; unit < keys; unit += LANES)
            score += tanh_of(load(projected + step * keys + unit)) * load(query + unit);
        attention[step] = 0;
        for (int lane = 0; lane < LANES; lane++) attention[step] += score[lane];
    }
    softmax(attention, steps);
    memset(memory, 0, sizeof(float) * grid.width);
    for (int step = 0; step < steps; step++)
        for (int unit = 0; unit < grid.width; unit += LANES)
            store(memory + unit, load(memory + unit) + attention[step] * load(grid.cells + step * grid.width + unit));
    affine(1, (Matrix){memory, 0, 1}, 1, grid.width, view, fc, view_bias, 0, gates, 0);
    for (int unit = 0; unit < fc; unit++) gates[unit] = gates[unit] > 0 ? gates[unit] : 0;
    int classes = (CLASSES + LANES - 1) / LANES * LANES;
    affine(1, (Matrix){gates, 0, 1}, 1, fc, head_bias + classes, classes, head_bias, 0, projected, 0);
    softmax(projected, CLASSES);
    memcpy(probabilities, projected, sizeof(float) * CLASSES);
}

#ifdef NEEDS_AVX2
#pragma GCC pop_options
#endif

/* answers(images, shape, weights, room, probabilities, attention): fill the last two. kernel.py sees to all sizes. */
static PyObject *answers(PyObject *Py_UNUSED(self), PyObject *arguments) {
    Py_buffer images, given, weights, probabilities, attention;
    Py_ssize_t room;
    if (!PyArg_ParseTuple(arguments, "y*y*y*nw*w*", &images, &given, &weights, &room, &probabilities, &attention))
        return NULL;
    const Shape *shape = given.buf;
    Py_ssize_t count = probabilities.len / (CLASSES * sizeof(float)), picture = shape->frame * shape->frame;
    Py_ssize_t steps = count ? attention.len / sizeof(float) / count : 0;
    float *scratch = malloc((5 * room + LANES) * sizeof(float));
    if (scratch) {
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t place = 0; place < count; place++)
            answer((const uint8_t *)images.buf + place * picture, shape, weights.buf, scratch, room,
                   (float *)probabilities.buf + place * CLASSES, (float *)attention.buf + place * steps);
        Py_END_ALLOW_THREADS;
        free(scratch);
    }
    Py_buffer *buffers[] = {&images, &given, &weights, &probabilities, &attention};
    for (int place = 0; place < 5; place++) PyBuffer_Release(buffers[place]);
    if (!scratch) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"answers", answers, METH_VARARGS, "See kernel.py."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__kernel(void) {
#ifdef NEEDS_AVX2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        PyErr_SetString(PyExc_ImportError, "the kernel needs AVX2");
        return NULL;
    }
#endif
    return PyModule_Create(&module);
}
