// Layers forward and back whose products go through tiles, see tiles.hpp. Compiled for processors that have them.
#include "backward.hpp"
#include "cells.hpp"

extern "C" {

SeqloomStatus seqloom_tiles_forward(const SeqloomLayer* layer) {
    return with_cell(layer->cell, [&](auto kind) {
        using Layer = Recurrence<decltype(kind)>;
        return layer->numbers == SEQLOOM_BFLOAT16_TILES ? Layer::template forward<Tiles<1>>(*layer)
                                                        : Layer::template forward<Tiles<3>>(*layer);
    });
}

SeqloomStatus seqloom_tiles_backward(const SeqloomLayer* layer, const SeqloomGradients* gradients) {
    return with_cell(layer->cell, [&](auto kind) {
        using Cell = decltype(kind);
        return layer->numbers == SEQLOOM_BFLOAT16_TILES ? Backward<Cell, Tiles<1>>::backward(*layer, *gradients)
                                                        : Backward<Cell, Tiles<3>>::backward(*layer, *gradients);
    });
}
}
