/* The native kernels' plain C interface: pointers, sizes and strides. It knows neither Python nor torch.
 *
 * Letters: B rows, T steps, I input features, H hidden units, G gates. All arrays are float32, all strides count
 * numbers, and the last dimension is always dense. Nothing here throws; a function that can fail returns a Status.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum SeqloomCell {
    SEQLOOM_LSTM,
    SEQLOOM_GRU,
    SEQLOOM_RNN,
    SEQLOOM_RELU_RNN,
    SEQLOOM_PEEPHOLE_LSTM,
    SEQLOOM_SLSTM,
    SEQLOOM_LAYER_NORM_LSTM,
    SEQLOOM_LAYER_NORM_GRU,
    SEQLOOM_CELLS
};

/* What products multiply; their sums, states and the cell's arithmetic are float32. BFLOAT16: what enters products is
 * rounded to it, on the way back too. INT8, for live sequences: weights are whole numbers with a scale for each row.
 * TILES, for whole layers: the same through the processor's tiles, rounded otherwise, for those that pay for many rows. */
enum SeqloomNumbers { SEQLOOM_FLOAT32, SEQLOOM_BFLOAT16, SEQLOOM_INT8, SEQLOOM_FLOAT32_TILES, SEQLOOM_BFLOAT16_TILES };

enum SeqloomStatus { SEQLOOM_DONE = 0, SEQLOOM_NO_MEMORY = 1 };

/* A layer in one direction over a ragged batch. Row b has `lengths[b]` valid steps; no other step is read. */
typedef struct SeqloomLayer {
    int32_t cell, numbers, threads, reverse; /* numbers: all but INT8 */
    int64_t B, T, I, H;
    const int64_t *lengths;                                 /* (B,) */
    const float *x;                                         /* (B, T, I) */
    int64_t x_row, x_step;                                  /* its strides */
    const float *w_ih, *w_hh, *b_ih, *b_hh;                 /* (G*H, I), (G*H, H), (G*H,), (G*H,) */
    const float *extra;                                     /* (extras, H) */
    const float *state;                                     /* (1 + memories, B, H): h, then memories */
    float *output;                                          /* (B, T, H), zero on padding */
    int64_t output_row, output_step;
    float *final_state;                                     /* like state, after each row's last valid step */
    float *reserve;                                         /* (B, T, reserve) for the way back, or NULL */
} SeqloomLayer;

/* Gradients in and out. Those of weights are sums over all valid steps; those of x are zero on padding. */
typedef struct SeqloomGradients {
    const float *d_output; /* (B, T, H) */
    int64_t d_output_row, d_output_step;
    const float *d_final;                              /* (1 + memories, B, H) */
    float *d_x;                                        /* (B, T, I), dense; NULL: not wanted */
    float *d_w_ih, *d_w_hh, *d_b_ih, *d_b_hh, *d_extra; /* like the weights */
    float *d_state;                                    /* like state */
} SeqloomGradients;

/* h' = a * h + b along time, one number at a time, or h' = max(a * h + b, 0): (B, T, H), dense. */
typedef struct SeqloomScan {
    int32_t threads, rectified;
    int64_t B, T, H;
    int64_t a_row, a_step; /* strides of a: zero where rows or steps share it */
    const int64_t *lengths;
    const float *a, *b, *h; /* h: (B, H) before the first step */
    float *output;          /* (B, T, H), zero on padding */
    float *final_state;     /* (B, H) */
} SeqloomScan;

typedef struct SeqloomScanGradients {
    const float *d_output, *d_final; /* (B, T, H), (B, H) */
    float *d_a, *d_b, *d_h;          /* like a, b, h; zero on padding */
} SeqloomScanGradients;

/* What one instruction set offers. */
typedef struct SeqloomKernels {
    const char *name;
    int (*supported)(void); /* whether this machine has it */
    int (*bfloat16_pays)(void); /* whether its products take less time here than those of float32 */
    int (*tiles)(void); /* whether layers can multiply through tiles here */
    int64_t (*reserve)(int32_t cell, int64_t H); /* numbers kept for each step */
    enum SeqloomStatus (*forward)(const SeqloomLayer *);
    enum SeqloomStatus (*backward)(const SeqloomLayer *, const SeqloomGradients *);
    enum SeqloomStatus (*scan)(const SeqloomScan *);
    enum SeqloomStatus (*scan_backward)(const SeqloomScan *, const SeqloomScanGradients *);
    /* Weights packed once, in some SeqloomNumbers, for at most so many rows; NULL without memory. `steps` takes
     * x (rows, T, I) to output (rows, T, H) and changes the state (1 + memories, rows, H) in place; sums, states and
     * the cell's arithmetic are float32. One caller at a time. */
    void *(*stepper)(const SeqloomLayer *, int32_t numbers, int64_t most_rows);
    void (*steps)(void *stepper, int32_t cell, int32_t numbers, int64_t rows, int64_t T, const float *x, float *state,
                  float *output);
    void (*stepper_free)(void *stepper, int32_t cell, int32_t numbers);
    /* The machine's limits: multiply-adds on registers, giving the operations done; `count` numbers of `memory` for
     * each thread, read over and over, giving the bytes read. The caller takes the time. */
    int64_t (*multiply_adds)(int32_t threads, int64_t rounds);
    int64_t (*read_rounds)(int32_t threads, const float *memory, int64_t count, int64_t rounds);
} SeqloomKernels;

/* Memory to write to, 64-byte aligned, filled with NaN where poisoning is on; NULL without memory. Large blocks that are
 * freed are kept for the next call, see memory.cpp. */
void *seqloom_alloc(size_t bytes);
void seqloom_free(void *memory, size_t bytes); /* as many as were asked for */
void seqloom_poison(int on);
typedef struct SeqloomMemory {
    size_t used, kept, most; /* bytes of large blocks now in use, kept, and the most that were in use together */
} SeqloomMemory;
SeqloomMemory seqloom_memory(void);
void seqloom_forget(void); /* gives what is kept back to the system */

/* Calls task(context, rank, threads) for each rank; the caller is rank 0. There may be fewer threads than asked for. */
typedef void (*SeqloomTask)(void *context, int rank, int threads);
void seqloom_parallel(int threads, SeqloomTask task, void *context);
void seqloom_use_own_pool(int on); /* even where an OpenMP runtime is in the process */

/* Waits until `threads` callers have arrived. `barrier` starts as zeros. */
typedef struct SeqloomBarrier {
    int32_t arrived, round;
    char apart[56]; /* a cache line of its own */
} SeqloomBarrier;
void seqloom_wait(SeqloomBarrier *barrier, int threads);

/* Asks the operating system for tiles (AMX); whether this process has them. And layers that use them. */
int seqloom_tiles_allowed(void);
enum SeqloomStatus seqloom_tiles_forward(const SeqloomLayer *);
enum SeqloomStatus seqloom_tiles_backward(const SeqloomLayer *, const SeqloomGradients *);

/* Bytes of the second-level cache of a core. */
size_t seqloom_cache_bytes(void);

#ifdef __cplusplus
}
#endif
