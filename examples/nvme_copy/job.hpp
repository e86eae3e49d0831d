// SPDX-License-Identifier: BSL-1.0
/// \file
/// A whole run: opens the drives, chooses the memory that the copy goes through, copies, verifies, and says what it
/// did.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <paddock/pci/address.hpp>
#include <paddock/vfio/coherent_buffer.hpp>
#include <paddock/vfio/container.hpp>
#include <paddock/vfio/diagnose.hpp>

#include "copy.hpp"
#include "events.hpp"
#include "nvme/controller.hpp"

namespace nvme_copy {

/// Through which memory the bytes go.
enum class through : std::uint8_t {
  p2p,        ///< Device memory, or not at all.
  system,     ///< System memory.
  automatic,  ///< Device memory where it can be had, else system memory, and say why.
};

struct request {
  paddock::pci::address source;
  paddock::pci::address target;
  std::optional<paddock::pci::address> provider;
  through way{through::automatic};
  std::uint64_t blocks{0};  ///< 0: the whole drive, which must be as large as the other.
  std::uint16_t queue_depth{16};
  bool verify{false};
  std::chrono::milliseconds io_timeout{30'000};
};

struct report {
  nvme::identity source;
  nvme::identity target;
  bool peer_to_peer{false};
  std::string route;  ///< Which memory, and why.
  std::uint64_t bytes{0};
  double seconds{0};
  std::uint64_t system_memory_bytes{0};  ///< Payload that reads put into system memory, or writes fetched from it.
  std::uint64_t device_memory_bytes{0};
  std::uint16_t reads_in_flight{0};  ///< The most at once; likewise below.
  std::uint16_t writes_in_flight{0};
  std::string source_sha256;  ///< With request::verify.
  std::string target_sha256;
};

/// SHA-256 by OpenSSL's libcrypto.
class sha256 {
 public:
  sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(std::span<const std::byte> bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  [[nodiscard]] std::string hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    std::string text;
    for (const unsigned char byte : digest) {
      text += fmt::format("{:02x}", byte);
    }
    return text;
  }

 private:
  struct deleter {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, deleter> context_;
};

/// Everything that a run holds; destroyed in the right order whatever happens.
template <class Completion>
class job {
 public:
  job(paddock::vfio::container space, request wanted, observer copying, observer verifying)
      : space_(std::move(space)),
        wanted_(std::move(wanted)),
        copying_(std::move(copying)),
        verifying_(std::move(verifying)) {}

  /// Called once it is known how many blocks will be copied.
  void on_size_known(std::function<void(std::uint64_t)> tell) { tell_size_ = std::move(tell); }

  [[nodiscard]] outcome<report> run() {
    auto ended = run_steps();
    // The thread must not find half-closed drives.
    events_.stop();
    return ended;
  }

 private:
  using controller_ptr = std::unique_ptr<nvme::controller>;
  static constexpr std::uint64_t largest_chunk = 512 * 1024;

  [[nodiscard]] outcome<report> run_steps() {
    PADDOCK_TRY_VOID(open_drives());
    PADDOCK_TRY_VOID(compare_sizes());
    PADDOCK_TRY_VOID(choose_window());
    watch_drives();
    if (auto started = events_.start(); !started) {
      return failed(ending::not_opened, fmt::format("cannot watch the drives: {}", started.error()));
    }
    return copy_and_verify();
  }

  [[nodiscard]] static tl::unexpected<failure> cannot_open(const paddock::pci::address& address,
                                                           const paddock::error& why) {
    if (why == paddock::errc::limit_reached) {
      return failed(ending::not_opened,
                    fmt::format("{}: {}", address, paddock::vfio::explain_map_failure(65 * 4096, why)));
    }
    const bool drive_failed = why == paddock::errc::timed_out || why == paddock::errc::io;
    return failed(drive_failed ? ending::failed : ending::not_opened,
                  paddock::vfio::explain_open_failure(address, why));
  }

  [[nodiscard]] outcome<controller_ptr> open(const paddock::pci::address& address) {
    auto opened = nvme::controller::open(space_, address,
                                         {.queue_depth = wanted_.queue_depth,
                                          .interrupts = Completion::interrupts,
                                          .memory_only = false,
                                          .io_timeout = wanted_.io_timeout});
    if (!opened) {
      return cannot_open(address, opened.error());
    }
    return std::move(*opened);
  }

  [[nodiscard]] outcome<void> open_drives() {
    if (wanted_.source == wanted_.target) {
      return failed(ending::usage, "source and target are the same drive");
    }
    if (wanted_.provider && wanted_.way == through::system) {
      return failed(ending::usage, "a provider has no part in a copy through system memory");
    }
    PADDOCK_TRY(source_, open(wanted_.source));
    PADDOCK_TRY(target_, open(wanted_.target));
    // Whoever asks for a copy peer to peer knows the machine; --verify tells whether every byte came through.
    source_->device().trust_routes();
    target_->device().trust_routes();
    if (wanted_.provider && *wanted_.provider != wanted_.source && *wanted_.provider != wanted_.target) {
      auto provider = nvme::controller::open(
          space_, *wanted_.provider,
          {.queue_depth = 2, .interrupts = false, .memory_only = true, .io_timeout = wanted_.io_timeout});
      if (provider) {
        third_ = std::move(*provider);
      } else if (wanted_.way == through::p2p) {
        return cannot_open(*wanted_.provider, provider.error());
      } else {
        no_third_ = fmt::format("{}: {}", *wanted_.provider, provider.error());
      }
    }
    return {};
  }

  [[nodiscard]] outcome<void> compare_sizes() {
    const nvme::identity& a = source_->identity();
    const nvme::identity& b = target_->identity();
    if (a.block_bytes != b.block_bytes) {
      return failed(ending::sizes_differ, fmt::format("the drives have blocks of different size: {} and {} bytes",
                                                      a.block_bytes, b.block_bytes));
    }
    if (wanted_.blocks == 0 && a.blocks != b.blocks) {
      return failed(ending::sizes_differ,
                    fmt::format("the drives differ in size: the source has {} blocks, the target {}; name how many to "
                                "copy with --blocks",
                                a.blocks, b.blocks));
    }
    blocks_ = wanted_.blocks == 0 ? a.blocks : wanted_.blocks;
    if (blocks_ > a.blocks || blocks_ > b.blocks) {
      return failed(ending::sizes_differ,
                    fmt::format("{} blocks do not fit: the source has {}, the target {}", blocks_, a.blocks, b.blocks));
    }
    tell_size_(blocks_);
    const std::uint64_t longest = std::min({a.longest_transfer, b.longest_transfer, largest_chunk});
    chunk_blocks_ = static_cast<std::uint32_t>(longest / a.block_bytes);
    return {};
  }

  /// Transfers that both drives take at once; at least 2, since a queue has at least 3 entries.
  [[nodiscard]] std::uint32_t depth() const { return std::min(source_->io().depth(), target_->io().depth()); }

  /// The drive whose memory buffer is tried, and whether it may be used for this copy.
  [[nodiscard]] paddock::result<void> try_provider(nvme::controller& provider) {
    const auto owner = &provider == source_.get()   ? nvme::buffer_owner::source
                       : &provider == target_.get() ? nvme::buffer_owner::target
                                                    : nvme::buffer_owner::neither;
    PADDOCK_TRY(auto memory, provider.find_memory_buffer(owner));
    const std::uint64_t chunk_bytes = std::uint64_t{chunk_blocks_} * source_->identity().block_bytes;
    const std::uint64_t slots = std::min<std::uint64_t>(memory.length() / chunk_bytes, depth());
    if (slots < 2) {
      return paddock::fail(paddock::errc::unsupported_by_device,
                           "the controller memory buffer is too small for two transfers");
    }
    PADDOCK_TRY(start_,
                device_window_.emplace().open(paddock::vfio::bar_exporter(std::move(memory)), *source_, *target_));
    PADDOCK_TRY_VOID(provider.place_memory_buffer(start_));
    slots_ = static_cast<std::uint32_t>(slots);
    route_ = fmt::format("peer to peer, through {} KiB of the controller memory of {} (IOVA {})",
                         slots * chunk_bytes / 1024, provider.address(), start_);
    provider_ = &provider;
    return {};
  }

  [[nodiscard]] outcome<void> choose_window() {
    std::string why = "asked for";
    if (wanted_.way != through::system) {
      std::vector<nvme::controller*> candidates;
      why = no_third_;
      if (!wanted_.provider) {
        candidates = {source_.get(), target_.get()};
      } else if (third_) {
        candidates = {third_.get()};
      } else if (no_third_.empty()) {
        candidates = {*wanted_.provider == wanted_.source ? source_.get() : target_.get()};
      }
      for (nvme::controller* candidate : candidates) {
        const auto tried = try_provider(*candidate);
        if (tried) {
          return {};
        }
        why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", candidate->address(), tried.error());
      }
      if (wanted_.way == through::p2p) {
        return failed(ending::no_route, "no peer-to-peer copy: " + why);
      }
    }
    slots_ = depth();
    const std::uint64_t bytes = std::uint64_t{slots_} * chunk_blocks_ * source_->identity().block_bytes;
    const auto start = system_window_.open(paddock::memory_exporter(bytes), *source_, *target_);
    if (!start) {
      return failed(ending::not_opened, paddock::vfio::explain_map_failure(bytes, start.error()));
    }
    start_ = *start;
    route_ = fmt::format("through {} KiB of system memory ({})", bytes / 1024, why);
    return {};
  }

  void watch_drives() {
    for (nvme::controller* drive : {source_.get(), target_.get(), third_.get()}) {
      if (drive == nullptr) {
        continue;
      }
      events_.on_readable(drive->removal_request().event(0), [drive] { drive->lose(); });
      if (Completion::interrupts && drive != third_.get()) {
        events_.on_readable(drive->interrupt(), [drive] { drive->io().walk(); });
      }
    }
  }

  [[nodiscard]] outcome<report> copy_and_verify() {
    report made;
    made.source = source_->identity();
    made.target = target_->identity();
    made.peer_to_peer = provider_ != nullptr;
    made.route = route_;
    made.bytes = blocks_ * made.source.block_bytes;
    const plan steps{source_.get(),
                     target_.get(),
                     blocks_,
                     chunk_blocks_,
                     slots_,
                     start_,
                     provider_ != nullptr ? &*device_window_ : nullptr,
                     provider_};
    const auto began = std::chrono::steady_clock::now();
    PADDOCK_TRY_VOID(copy<Completion>(steps, copying_));
    made.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    // Every byte passes twice; the larger side counts, so that a byte which crossed once does not hide.
    const nvme::traffic& in = source_->io().moved();
    const nvme::traffic& out = target_->io().moved();
    made.system_memory_bytes = std::max(in.memory.load(), out.memory.load());
    made.device_memory_bytes = std::max(in.device_memory.load(), out.device_memory.load());

    made.reads_in_flight = source_->io().peak();
    made.writes_in_flight = target_->io().peak();

    if (wanted_.verify) {
      const std::uint64_t bytes = std::uint64_t{2} * chunk_blocks_ * made.source.block_bytes;
      auto memory = paddock::vfio::coherent_buffer::create(space_, bytes);
      if (!memory) {
        return failed(ending::not_opened, paddock::vfio::explain_map_failure(bytes, memory.error()));
      }
      for (auto [drive, role, digest] : {std::tuple{source_.get(), "source", &made.source_sha256},
                                         std::tuple{target_.get(), "target", &made.target_sha256}}) {
        sha256 hash;
        PADDOCK_TRY_VOID(read_all<Completion>(*drive, role, blocks_, chunk_blocks_, *memory, verifying_,
                                              [&](std::span<const std::byte> piece) { hash.add(piece); }));
        *digest = hash.hex();
      }
    }
    return made;
  }

  paddock::vfio::container space_;
  request wanted_;
  observer copying_;
  observer verifying_;
  std::function<void(std::uint64_t)> tell_size_ = [](std::uint64_t) {};

  controller_ptr source_;
  controller_ptr target_;
  controller_ptr third_;
  // Attached to the drives, so that they go first.
  std::optional<device_window> device_window_;
  system_window system_window_;
  paddock::iova start_;   ///< Of the one that is used.
  std::string no_third_;  ///< Why the provider that was asked for could not be opened.
  const nvme::controller* provider_{nullptr};
  event_thread events_;

  std::string route_;
  std::uint64_t blocks_{0};
  std::uint32_t chunk_blocks_{0};
  std::uint32_t slots_{0};
};

}  // namespace nvme_copy
