// The memory that kernels write: scratch, and what the way back needs.
//
// The system clears each page before it hands it out, which takes as long as a good part of the arithmetic. So large
// blocks that are freed are kept for the next call, which asks for the same ones or, with another batch, for similar
// ones. When a new block is needed, those that have waited longest go back to the system until all blocks together are
// no more than were once in use together. So a process grows no larger than it would without, but for what a call leaves
// of a block that is larger than it asked for, at most half.
#include <sys/mman.h>
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "seqloom.h"

namespace {

constexpr size_t SMALL_PAGE = size_t(64) << 10, LARGE_PAGE = size_t(2) << 20;  // at most so large, whatever the machine
constexpr size_t LARGE = size_t(1) << 20;  // a block that is worth keeping
#if defined(__SANITIZE_ADDRESS__)
constexpr bool KEEPS = false;  // what is used after it was freed would not be found
#else
constexpr bool KEEPS = true;
#endif

std::atomic<bool> poisoned{false};

struct Block {
    void* memory;
    size_t bytes, asked;
};

size_t up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// Pages of the system's, where large ones can begin.
void* map(size_t bytes) {
    const size_t size = up(bytes, SMALL_PAGE), more = size >= 2 * LARGE_PAGE ? LARGE_PAGE : 0;
    void* found = mmap(nullptr, size + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) return nullptr;
    char* first = static_cast<char*>(found);
    const size_t before = more ? up(size_t(first), LARGE_PAGE) - size_t(first) : 0;
    if (before > 0) munmap(first, before);
    if (more > before) munmap(first + before + size, more - before);
#if defined(MADV_HUGEPAGE)
    if (more) madvise(first + before, size, MADV_HUGEPAGE);
#endif
    return first + before;
}

void unmap(void* memory, size_t bytes) { munmap(memory, up(bytes, SMALL_PAGE)); }

class Store {
   public:
    // The smallest kept block that is large enough and not twice as large as that, or a new one.
    void* take(size_t asked) {
        std::lock_guard<std::mutex> lock(mutex_);
        lent_.reserve(lent_.size() + 1), kept_.reserve(kept_.size() + lent_.size() + 1);  // `give` must not fail
        size_t found = kept_.size();
        for (size_t k = 0; k < kept_.size(); ++k)
            if (kept_[k].bytes >= asked && kept_[k].bytes < 2 * asked &&
                (found == kept_.size() || kept_[k].bytes < kept_[found].bytes))
                found = k;
        Block block = {nullptr, asked, asked};
        if (found < kept_.size()) {
            block.memory = kept_[found].memory, block.bytes = kept_[found].bytes;
            kept_.erase(kept_.begin() + std::ptrdiff_t(found));
            idle_ -= block.bytes;
        } else {
            give_back(most_ > used_ + asked ? most_ - used_ - asked : 0);
            block.memory = map(asked);
            if (block.memory == nullptr) return nullptr;
        }
        lent_.push_back(block);
        used_ += block.bytes, asked_ += asked;
        if (most_ < asked_) most_ = asked_;
        return block.memory;
    }

    void give(void* memory) {
        std::lock_guard<std::mutex> lock(mutex_);
        size_t place = lent_.size() - 1;  // mostly one of the last
        while (lent_[place].memory != memory) --place;
        const Block block = lent_[place];
        lent_.erase(lent_.begin() + std::ptrdiff_t(place));
        used_ -= block.bytes, asked_ -= block.asked, idle_ += block.bytes;
        kept_.push_back(block);
    }

    void forget() {
        std::lock_guard<std::mutex> lock(mutex_);
        give_back(0);
        most_ = asked_;
    }

    SeqloomMemory sizes() {
        std::lock_guard<std::mutex> lock(mutex_);
        return {used_, idle_, most_};
    }

    // A child that is forked while another thread holds the lock would wait for it forever.
    void before_fork() { mutex_.lock(); }
    void after_fork() { mutex_.unlock(); }

   private:
    void give_back(size_t most) {
        while (idle_ > most) {
            unmap(kept_.front().memory, kept_.front().bytes);
            idle_ -= kept_.front().bytes;
            kept_.erase(kept_.begin());
        }
    }

    std::mutex mutex_;
    std::vector<Block> lent_, kept_;  // in the order they were lent and given back
    size_t used_ = 0, asked_ = 0, idle_ = 0, most_ = 0;
};

// Never destroyed: tensors may be freed after it would have been.
Store& store() {
    static Store* made = [] {
        pthread_atfork([] { store().before_fork(); }, [] { store().after_fork(); }, [] { store().after_fork(); });
        return new Store;
    }();
    return *made;
}

}  // namespace

extern "C" {

void* seqloom_alloc(size_t bytes) {
    void* memory = nullptr;
    try {
        memory = KEEPS && bytes >= LARGE ? store().take(bytes) : std::aligned_alloc(64, up(bytes, 64));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    if (memory && poisoned.load(std::memory_order_relaxed)) std::memset(memory, 0xFF, bytes);
    return memory;
}

void seqloom_free(void* memory, size_t bytes) {
    if (KEEPS && bytes >= LARGE && memory != nullptr)
        store().give(memory);
    else
        std::free(memory);
}

void seqloom_forget(void) { store().forget(); }

SeqloomMemory seqloom_memory(void) { return store().sizes(); }

void seqloom_poison(int on) { poisoned.store(on != 0); }
}
