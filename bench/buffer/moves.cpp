// SPDX-License-Identifier: BSL-1.0
// A buffer moves to and fro while importers are armed, which are all told. Nothing is copied: that is the mover's.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/mover.hpp>
#include <paddock/fence/stub.hpp>

#include "../support/batch.hpp"
#include "../support/buffers.hpp"

namespace paddock::bench {
namespace {

using buffer_type = dma_buf<two_places>;
using attachment_type = attachment<buffer_type, plain_device, movable, no_auto_fence>;

struct no_copy {
  [[nodiscard]] result<fence_ptr> copy(const storage&, const storage&) const noexcept { return stub_fence(); }
};

struct importer {
  attachment_type at;
  attachment_type::armed_type* armed{nullptr};
  mapping<plain_device> mapped;
};

/// A buffer with its lock held, and importers that count what they are told.
template <std::size_t Importers>
class crowd {
 public:
  crowd() {
    for (importer& each : importers_) {
      good_ = good_ && each.at.attach(buffer_, device_);
    }
    held_ = std::move(*buffer_->lock());
    good_ = good_ && buffer_->use_mover(held_, mover_);
    for (importer& each : importers_) {
      each.armed = *each.at.arm(held_, [this](attachment_type&, const resv_lock&) noexcept { ++told_; });
    }
  }
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;
  ~crowd() {
    for (importer& each : importers_) {
      each.mapped = {};
    }
    held_.unlock();
  }

  void map_all() noexcept {
    for (importer& each : importers_) {
      each.mapped = {};
    }
    for (importer& each : importers_) {
      auto made = each.armed->map(held_, direction::bidirectional);
      good_ = good_ && made.has_value();
      if (good_) {
        each.mapped = std::move(*made);
      }
    }
  }
  void move(std::size_t times) noexcept {
    for (std::size_t i = 0; i < times; ++i) {
      at_ = 1 - at_;
      good_ = buffer_->move(held_, at_, deadline::never()).has_value() && good_;
    }
    moves_ += times;
  }
  void check(benchmark::State& state) const {
    if (!good_ || told_ != moves_ * Importers) {
      state.SkipWithError("every move should succeed, and tell everybody");
    }
  }

 private:
  bool good_{true};
  std::size_t at_{0};
  std::uint64_t moves_{0};
  std::uint64_t told_{0};
  no_copy mover_;
  plain_device device_;
  buffer_ptr<buffer_type> buffer_{*buffer_type::create(two_places(buffer_bytes, {}, {}))};
  std::array<importer, Importers> importers_;
  resv_lock held_;
};

/// In a batch as many importers are told, whatever their number: few of them by more moves. Later moves of a batch find
/// mappings that are stale already, which makes no difference to them.
constexpr std::size_t told_in_batch = 256;

template <bool Mapped, std::size_t Importers>
void prepare(crowd<Importers>& of) {
  if constexpr (Mapped) {
    of.map_all();
  }
}

template <std::size_t Importers, bool Mapped>
void move(benchmark::State& state) {
  const auto all = std::make_unique<crowd<Importers>>();
  measure(
      state, told_in_batch, [&] { prepare<Mapped>(*all); }, [&] { all->move(told_in_batch / Importers); });
  all->check(state);
}

/// By how much a move is longer for each importer more, from 16 of them to 256.
template <bool Mapped>
void slope(benchmark::State& state) {
  constexpr std::size_t few = 16;
  constexpr std::size_t many = 256;
  constexpr std::size_t moves_of_few = told_in_batch / few;
  const auto of_few = std::make_unique<crowd<few>>();
  const auto of_many = std::make_unique<crowd<many>>();
  for ([[maybe_unused]] auto repetition : state) {
    series seen;
    for (int batch = 0; batch < chosen.batches; ++batch) {
      const double unit = time_unit();
      prepare<Mapped>(*of_few);
      const double short_one = time([&] { of_few->move(moves_of_few); }) / static_cast<double>(moves_of_few);
      prepare<Mapped>(*of_many);
      const double long_one = time([&] { of_many->move(1); });
      seen.add((long_one - short_one) / static_cast<double>(many - few), unit);
    }
    seen.report(state);
  }
  of_few->check(state);
  of_many->check(state);
}

template <bool Mapped>
void add_rows(const std::string& subject) {
  add_row("buffer: move, 1 importer", subject, move<1, Mapped>);
  add_row("buffer: move, 16 importers, each", subject, move<16, Mapped>);
  add_row("buffer: move, 256 importers, each", subject, move<256, Mapped>);
  add_row("buffer: move, an importer more", subject, slope<Mapped>);
}

const bool registered = [] {
  add_rows<false>("paddock");
  add_rows<true>("paddock, mapped");
  return true;
}();

}  // namespace
}  // namespace paddock::bench
