/* An LSTM layer's states and gradients on one core, in chunks of sequences that stay in the cache.
 *
 * Hochreiter 1997 with forget gates (Gers 2000); gates in PyTorch's order: input, forget, change, output. Within a chunk floats
 * lie step by step, (steps, sequences, width). `units` and `across` are the widths of states and inputs, filled up to whole
 * vectors with zeros, which stay zeros. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 4
#define VECTORS 3
#include "lanes.h"

#define GATES 4
#define CHUNK 32 /* sequences */
#define SAVED 6  /* floats kept of a unit at each step: its gates, its cell, its state */

typedef struct {
    int sequences, steps, inputs, hidden, ways;
} Layer;

/* A direction's weights, packed for `affine`, and the gradients of the first three, which are not. */
typedef struct {
    float *bias, *from_input, *from_state, *to_input, *to_state;
    float *bias_gradient, *input_gradient, *state_gradient;
} Direction;

static int filled(int size) { return (size + LANES - 1) / LANES * LANES; }

/* A (rows, columns) matrix, laid out as `affine` takes packed weights. */
ALWAYS void pack(Matrix from, int rows, int columns, float *into) {
    for (int column = 0, vectors; column < columns; column += vectors * LANES) {
        vectors = taken((columns - column) / LANES);
        for (int row = 0; row < rows; row++)
            for (int lane = 0; lane < vectors * LANES; lane++)
                *into++ = from.at[row * from.down + (column + lane) * from.across];
    }
}

/* PyTorch's (gates * hidden, columns) in whole vectors: (gates * filled(hidden), filled(columns)). */
ALWAYS void widen(const float *given, int hidden, int columns, float *wide) {
    int units = filled(hidden), across = filled(columns);
    memset(wide, 0, sizeof(float) * GATES * units * across);
    for (int gate = 0; gate < GATES; gate++)
        for (int unit = 0; unit < hidden; unit++)
            memcpy(wide + (gate * units + unit) * across, given + (gate * hidden + unit) * columns, sizeof(float) * columns);
}

/* From a gradient (columns, gates * filled(hidden)) to PyTorch's (gates * hidden, columns). */
static float *narrowed(const float *wide, int hidden, int columns, float *into) {
    int units = filled(hidden);
    for (int gate = 0; gate < GATES; gate++)
        for (int unit = 0; unit < hidden; unit++)
            for (int column = 0; column < columns; column++) *into++ = wide[(column * GATES + gate) * units + unit];
    return into;
}

/* What a Direction takes, in floats. */
static size_t direction_floats(const Layer *layer) {
    size_t units = filled(layer->hidden), inputs = filled(layer->inputs);
    return GATES * units * (2 + 3 * inputs + 3 * units);
}

/* A direction's weights of those given in PyTorch's order, one after another; `given` is moved behind them. wide: scratch. */
static Direction laid_out(const Layer *layer, const float **given, float *room, float *wide) {
    int hidden = layer->hidden, inputs = layer->inputs, units = filled(hidden), across = filled(inputs), gates = GATES * units;
    Direction found;
    float **parts[] = {&found.bias, &found.from_input, &found.from_state, &found.to_input, &found.to_state,
                       &found.bias_gradient, &found.input_gradient, &found.state_gradient};
    int sizes[] = {1, across, units, across, units, 1, across, units};
    for (int part = 0; part < 8; room += sizes[part++] * gates) *parts[part] = room;
    memset(found.bias_gradient, 0, sizeof(float) * gates * (1 + across + units));
    widen(*given, hidden, inputs, wide);
    pack((Matrix){wide, 1, across}, inputs, gates, found.from_input);
    pack((Matrix){wide, across, 1}, gates, across, found.to_input);
    *given += GATES * hidden * inputs;
    widen(*given, hidden, hidden, wide);
    pack((Matrix){wide, 1, units}, units, gates, found.from_state);
    pack((Matrix){wide, units, 1}, gates, units, found.to_state);
    *given += GATES * hidden * hidden;
    memset(found.bias, 0, sizeof(float) * gates);
    for (int gate = 0; gate < GATES; gate++) /* there are two biases, of inputs and states */
        for (int unit = 0; unit < hidden; unit++)
            found.bias[gate * units + unit] = (*given)[gate * hidden + unit] + (*given)[(GATES + gate) * hidden + unit];
    *given += 2 * GATES * hidden;
    return found;
}

/* Between (sequences, steps, apart) and a chunk's (steps, sequences, filled(width)). */
ALWAYS void gather(const float *from, int count, int steps, int apart, int width, int across, float *chunk) {
    for (int step = 0; step < steps; step++)
        for (int row = 0; row < count; row++, chunk += across) {
            memcpy(chunk, from + (row * steps + step) * apart, sizeof(float) * width);
            memset(chunk + width, 0, sizeof(float) * (across - width));
        }
}
ALWAYS void scatter(const float *chunk, int count, int steps, int across, int width, int apart, float *into) {
    for (int step = 0; step < steps; step++)
        for (int row = 0; row < count; row++, chunk += across)
            memcpy(into + (row * steps + step) * apart, chunk, sizeof(float) * width);
}

/* The states of a chunk. saved: (SAVED, steps, count, units), its gates, cells and states. */
ALWAYS void read_forward(const Layer *layer, const Direction *by, int backward, const float *chunk, int count, float *saved) {
    int steps = layer->steps, across = filled(layer->inputs), units = filled(layer->hidden), wide = GATES * units;
    int line = count * units;
    float *gates = saved, *cells = gates + GATES * steps * line, *states = cells + steps * line;
    affine(1, (Matrix){chunk, across, 1}, steps * count, layer->inputs, by->from_input, wide, by->bias, 0, gates, wide);
    for (int done = 0; done < steps; done++) {
        int now = backward ? steps - 1 - done : done, last = backward ? now + 1 : now - 1;
        float *sums = gates + now * GATES * line;
        if (done)
            affine(1, (Matrix){states + last * line, units, 1}, count, units, by->from_state, wide, sums, wide, sums, wide);
        for (int row = 0; row < count; row++)
            for (int unit = 0; unit < units; unit += LANES) {
                float *gate = sums + row * wide + unit;
                int place = row * units + unit;
                lanes input = sigmoid_of(load(gate)), forget = sigmoid_of(load(gate + units));
                lanes change = tanh_of(load(gate + 2 * units)), output = sigmoid_of(load(gate + 3 * units));
                lanes cell = input * change;
                if (done) cell += forget * load(cells + last * line + place);
                store(gate, input), store(gate + units, forget), store(gate + 2 * units, change);
                store(gate + 3 * units, output), store(cells + now * line + place, cell);
                store(states + now * line + place, output * tanh_of(cell));
            }
    }
}

/* The gradients of a chunk's gates, (steps, count, gates * units), from those of its states, (steps, count, units).
 * carried: room for what a step hands to the one before, (2, count, units). */
ALWAYS void read_backward(const Layer *layer, const Direction *by, int backward, const float *saved, int count,
                          const float *of_states, const float *zeros, float *carried, float *of_gates) {
    int steps = layer->steps, units = filled(layer->hidden), wide = GATES * units, line = count * units;
    const float *gates = saved, *cells = gates + GATES * steps * line;
    float *to_state = carried, *to_cell = carried + line;
    memset(carried, 0, sizeof(float) * 2 * line);
    for (int done = steps - 1; done >= 0; done--) {
        int now = backward ? steps - 1 - done : done, last = backward ? now + 1 : now - 1;
        float *gradients = of_gates + now * GATES * line;
        for (int row = 0; row < count; row++)
            for (int unit = 0; unit < units; unit += LANES) {
                const float *gate = gates + now * GATES * line + row * wide + unit;
                float *gradient = gradients + row * wide + unit;
                int place = row * units + unit;
                lanes input = load(gate), forget = load(gate + units);
                lanes change = load(gate + 2 * units), output = load(gate + 3 * units);
                lanes before = done ? load(cells + last * line + place) : (lanes){0};
                lanes bent = tanh_of(load(cells + now * line + place));
                lanes of_state = load(of_states + now * line + place) + load(to_state + place);
                lanes of_cell = load(to_cell + place) + of_state * output * (1 - bent * bent);
                store(gradient, of_cell * change * input * (1 - input));
                store(gradient + units, of_cell * before * forget * (1 - forget));
                store(gradient + 2 * units, of_cell * input * (1 - change * change));
                store(gradient + 3 * units, of_state * bent * output * (1 - output));
                store(to_cell + place, of_cell * forget);
            }
        if (done) affine(1, (Matrix){gradients, wide, 1}, count, wide, by->to_state, units, zeros, 0, to_state, units);
    }
}

/* Add what a chunk's gradients of gates say of the weights. */
ALWAYS void add_gradients(const Layer *layer, const Direction *by, int backward, const float *chunk, const float *saved,
                          int count, const float *of_gates) {
    int steps = layer->steps, across = filled(layer->inputs), units = filled(layer->hidden), wide = GATES * units;
    int line = count * units, all = steps * count;
    const float *states = saved + (GATES + 1) * steps * line;
    affine(0, (Matrix){chunk, 1, across}, layer->inputs, all, of_gates, wide, by->input_gradient, wide, by->input_gradient, wide);
    affine(0, (Matrix){states + (backward ? line : 0), 1, units}, units, all - count, of_gates + (backward ? 0 : GATES * line),
           wide, by->state_gradient, wide, by->state_gradient, wide);
    for (int row = 0; row < all; row++)
        for (int gate = 0; gate < wide; gate += LANES)
            store(by->bias_gradient + gate, load(by->bias_gradient + gate) + load(of_gates + row * wide + gate));
}

static void forward(const Layer *layer, const float *in, const Direction *directions, float *room, float *out, float *saved) {
    int steps = layer->steps, hidden = layer->hidden, units = filled(hidden), width = layer->ways * hidden;
    for (int first = 0; first < layer->sequences; first += CHUNK) {
        int count = layer->sequences - first < CHUNK ? layer->sequences - first : CHUNK, all = steps * count;
        const float *from = in + (size_t)first * steps * layer->inputs;
        gather(from, count, steps, layer->inputs, layer->inputs, filled(layer->inputs), room);
        for (int way = 0; way < layer->ways; way++, saved += SAVED * all * units) {
            read_forward(layer, directions + way, way, room, count, saved);
            scatter(saved + (GATES + 1) * all * units, count, steps, units, hidden, width,
                    out + (size_t)first * steps * width + way * hidden);
        }
    }
}

/* of_in: NULL where nobody asks for it. */
static void backward(const Layer *layer, const float *in, const Direction *directions, float *room, const float *of_out,
                     const float *saved, float *of_in) {
    int steps = layer->steps, hidden = layer->hidden, units = filled(hidden), width = layer->ways * hidden;
    int across = filled(layer->inputs), most = CHUNK * steps, zero = across > GATES * units ? across : GATES * units;
    float *chunk = room, *of_chunk = chunk + most * across, *of_states = of_chunk + most * across;
    float *of_gates = of_states + most * units, *carried = of_gates + GATES * most * units, *zeros = carried + 2 * CHUNK * units;
    memset(zeros, 0, sizeof(float) * zero);
    for (int first = 0; first < layer->sequences; first += CHUNK) {
        int count = layer->sequences - first < CHUNK ? layer->sequences - first : CHUNK, all = steps * count;
        size_t place = (size_t)first * steps;
        gather(in + place * layer->inputs, count, steps, layer->inputs, layer->inputs, across, chunk);
        for (int way = 0; way < layer->ways; way++, saved += SAVED * all * units) {
            const Direction *by = directions + way;
            gather(of_out + place * width + way * hidden, count, steps, width, hidden, units, of_states);
            read_backward(layer, by, way, saved, count, of_states, zeros, carried, of_gates);
            add_gradients(layer, by, way, chunk, saved, count, of_gates);
            if (of_in)
                affine(1, (Matrix){of_gates, GATES * units, 1}, all, GATES * units, by->to_input, across,
                       way ? of_chunk : zeros, way ? across : 0, of_chunk, across);
        }
        if (of_in) scatter(of_chunk, count, steps, across, layer->inputs, layer->inputs, of_in + place * layer->inputs);
    }
}

/* Both directions' weights, at the beginning of the room. Returns what is left of it. */
static float *all_laid_out(const Layer *layer, const float *weights, float *room, Direction *directions) {
    float *left = room + layer->ways * direction_floats(layer);
    for (int way = 0; way < layer->ways; way++)
        directions[way] = laid_out(layer, &weights, room + way * direction_floats(layer), left);
    return left;
}

static void states_of(const Layer *layer, const float *in, const float *weights, float *out, float *saved, float *room) {
    Direction directions[2];
    float *left = all_laid_out(layer, weights, room, directions);
    forward(layer, in, directions, left, out, saved);
}

static void gradients_of(const Layer *layer, const float *in, const float *weights, const float *saved, const float *of_out,
                         float *of_in, float *of_weights, float *room) {
    Direction directions[2];
    float *left = all_laid_out(layer, weights, room, directions);
    backward(layer, in, directions, left, of_out, saved, of_in);
    for (int way = 0; way < layer->ways; way++) {
        of_weights = narrowed(directions[way].input_gradient, layer->hidden, layer->inputs, of_weights);
        of_weights = narrowed(directions[way].state_gradient, layer->hidden, layer->hidden, of_weights);
        of_weights = narrowed(directions[way].bias_gradient, layer->hidden, 1, of_weights);
        of_weights = narrowed(directions[way].bias_gradient, layer->hidden, 1, of_weights);
    }
}

#ifdef NEEDS_AVX2
#pragma GCC pop_options
#endif

/* Floats that either needs room for. */
static size_t room_of(const Layer *layer) {
    size_t units = filled(layer->hidden), across = filled(layer->inputs);
    size_t wide = GATES * units * (units > across ? units : across);
    size_t chunk = CHUNK * (layer->steps * (2 * across + (1 + GATES) * units) + 2 * units) + GATES * units + across;
    return layer->ways * direction_floats(layer) + (wide > chunk ? wide : chunk);
}

static PyObject *called(PyObject *arguments, int is_backward) {
    Py_buffer given[7] = {{0}};
    if (!PyArg_ParseTuple(arguments, is_backward ? "y*y*y*y*y*w*w*" : "y*y*y*w*w*", given, given + 1, given + 2, given + 3,
                          given + 4, given + 5, given + 6))
        return NULL;
    const Layer *layer = given[0].buf;
    float *at[7], *room = malloc(sizeof(float) * room_of(layer));
    for (int place = 0; place < 7; place++) at[place] = given[place].len ? given[place].buf : NULL;
    if (room) {
        Py_BEGIN_ALLOW_THREADS;
        if (is_backward)
            gradients_of(layer, at[1], at[2], at[3], at[4], at[5], at[6], room);
        else
            states_of(layer, at[1], at[2], at[3], at[4], room);
        Py_END_ALLOW_THREADS;
        free(room);
    }
    for (int place = 0; place < (is_backward ? 7 : 5); place++) PyBuffer_Release(given + place);
    if (!room) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* states(layer, in, weights, out, saved): fill the last two. lstm.py sees to all sizes. */
static PyObject *states(PyObject *Py_UNUSED(self), PyObject *arguments) { return called(arguments, 0); }

/* gradients(layer, in, weights, saved, of_out, of_in, of_weights): fill the last two; of_in may be empty. */
static PyObject *gradients(PyObject *Py_UNUSED(self), PyObject *arguments) { return called(arguments, 1); }

static PyMethodDef methods[] = {{"states", states, METH_VARARGS, "See lstm.py."},
                                {"gradients", gradients, METH_VARARGS, "See lstm.py."},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_lstm", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__lstm(void) {
#ifdef NEEDS_AVX2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        PyErr_SetString(PyExc_ImportError, "it needs AVX2");
        return NULL;
    }
#endif
    return PyModule_Create(&module);
}
