// Work shared by threads, and the memory it needs.
#pragma once

#include "seqloom.h"
#include "vec.hpp"

namespace {

typedef std::ptrdiff_t Size;

INLINE Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }

// Scratch that is freed at the end of the scope.
struct Scratch {
    static constexpr int MOST = 32;
    void* held[MOST];
    int count = 0;
    bool failed = false;

    template <class Number>
    Number* take(Size numbers) {
        void* memory = seqloom_alloc(std::size_t(numbers > 0 ? numbers : 1) * sizeof(Number));
        if (memory == nullptr || count == MOST) {
            failed = true;
            seqloom_free(memory);
            return nullptr;
        }
        held[count++] = memory;
        return static_cast<Number*>(memory);
    }
    ~Scratch() {
        for (int k = 0; k < count; ++k) seqloom_free(held[k]);
    }
};

template <class Body>
struct Parallel {
    const Body& body;
    static void call(void* context, int rank, int threads) { static_cast<Parallel*>(context)->body(rank, threads); }
};

// body(rank, threads) on so many threads.
template <class Body>
void parallel(int threads, const Body& body) {
    Parallel<Body> task{body};
    seqloom_parallel(threads, &Parallel<Body>::call, &task);
}

struct Part {
    Size first, last;
};
INLINE Part share(Size count, int rank, int threads) { return {count * rank / threads, count * (rank + 1) / threads}; }

}  // namespace
