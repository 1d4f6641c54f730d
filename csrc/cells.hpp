// Every cell that the native kernels know.
#pragma once

#include "cells/gru.hpp"
#include "cells/layer_norm_gru.hpp"
#include "cells/layer_norm_lstm.hpp"
#include "cells/lstm.hpp"
#include "cells/peephole_lstm.hpp"
#include "cells/rnn.hpp"
#include "cells/slstm.hpp"
#include "seqloom.h"

namespace {

// Calls body with the type that a cell's number means.
template <class Body>
INLINE auto with_cell(std::int32_t cell, const Body& body) {
    switch (cell) {
        case SEQLOOM_GRU: return body(GRU{});
        case SEQLOOM_RNN: return body(SimpleRNN<false>{});
        case SEQLOOM_RELU_RNN: return body(SimpleRNN<true>{});
        case SEQLOOM_PEEPHOLE_LSTM: return body(PeepholeLSTM{});
        case SEQLOOM_SLSTM: return body(SLSTM{});
        case SEQLOOM_LAYER_NORM_LSTM: return body(LayerNormLSTM{});
        case SEQLOOM_LAYER_NORM_GRU: return body(LayerNormGRU{});
        default: return body(LSTM{});
    }
}

}  // namespace
