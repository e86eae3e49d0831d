// SPDX-License-Identifier: BSL-1.0
// Channels between two ends of one process, and what a peer may send that is no dma-buf; those are in
// tests/vm/cases/kernel_sharing.cpp.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include <paddock/kernel/buffer_channel.hpp>

#include "catch.hpp"
#include "processes.hpp"

namespace paddock::kernel {

namespace {

using namespace std::chrono_literals;
using test::descriptors;
using test::send_raw;
deadline soon() { return deadline::in(50ms); }
deadline long_enough() { return deadline::in(10s); }

template <class T>
errc code_of(const result<T>& answer) {
  return answer ? errc{} : answer.error().code;
}
std::pair<buffer_channel, buffer_channel> make_ends() {
  auto made = buffer_channel::pair();
  REQUIRE(made);
  return *std::move(made);
}
detail::wire_message message_of(detail::message_kind kind) {
  detail::wire_message made;
  made.kind = kind;
  made.buffer_count = 1;
  return made;
}

}  // namespace

TEST_CASE("channel: notices and signaled fences arrive in their order") {
  auto [here, there] = make_ends();
  REQUIRE(here.send_revoke({1, 2}, soon()));
  REQUIRE(here.send(sync_file::already_signaled(), 3, soon()));
  REQUIRE(here.send_released({4, 5}, soon()));
  const auto first = there.receive(soon());
  REQUIRE(first);
  CHECK(std::get<revoke_request>(*first).buffer == buffer_id{1, 2});
  const auto second = there.receive(soon());
  REQUIRE(second);
  CHECK(std::get<shared_fence>(*second).tag == 3);
  CHECK(std::get<shared_fence>(*second).fence.is_already_signaled());
  const auto third = there.receive(deadline::now());
  REQUIRE(third);
  CHECK(std::get<buffer_released>(*third).buffer == buffer_id{4, 5});
  CHECK(code_of(there.receive(soon())) == errc::timed_out);
  CHECK(code_of(there.receive(deadline::now())) == errc::timed_out);
}

TEST_CASE("channel: who waits for an answer keeps what came before it, in order") {
  auto [here, there] = make_ends();
  REQUIRE(there.send_revoke({1, 1}, soon()));
  REQUIRE(there.send_released({2, 2}, soon()));
  REQUIRE(there.send_released({3, 3}, soon()));
  CHECK(here.await_released({3, 3}, soon()));
  CHECK(here.await_released({2, 2}, soon()));
  CHECK(code_of(here.await_released({3, 3}, soon())) == errc::timed_out);
  const auto kept = here.receive(deadline::now());
  REQUIRE(kept);
  CHECK(std::get<revoke_request>(*kept).buffer == buffer_id{1, 1});
  CHECK(code_of(here.receive(deadline::now())) == errc::timed_out);
}

TEST_CASE("channel: a peer that sends other things without end costs the deadline, or a bounded number of them") {
  auto [here, there] = make_ends();
  std::atomic<bool> is_over{false};
  std::thread peer([&, sender = std::move(there)]() mutable {
    while (!is_over && sender.send_revoke({1, 1}, deadline::in(20ms)).has_value()) {
    }
    is_over = true;
  });
  const auto begin = monotonic_clock::now();
  const errc ended = code_of(here.await_released({9, 9}, deadline::in(200ms)));
  CHECK((ended == errc::timed_out || ended == errc::limit_reached));
  CHECK(monotonic_clock::now() - begin < 5s);
  is_over = true;
  peer.join();
  std::size_t kept = 0;
  while (kept < 1000 && here.receive(deadline::now()).has_value()) {
    ++kept;
  }
  CHECK(kept > 0);
  CHECK(kept < 1000);  // Those that were kept, and those that the socket has room for.
}

TEST_CASE("channel: nonsense is an error, leaves nothing open, and the next message arrives") {
  auto [here, there] = make_ends();
  const unique_fd file = *detail::open("/dev/null", O_RDWR, "open");
  const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC));
  const auto before = descriptors();
  const auto answer = [&, &sender = here, &receiver = there](const detail::wire_message& message, std::size_t size,
                                                             const std::vector<int>& fds) {
    send_raw(sender.fd(), &message, size, fds);
    const errc code = code_of(receiver.receive(long_enough()));
    CHECK(descriptors() == before);
    REQUIRE(sender.send_revoke({7, 7}, soon()));
    const auto next = receiver.receive(long_enough());
    REQUIRE(next);
    CHECK(std::get<revoke_request>(*next).buffer == buffer_id{7, 7});
    return code;
  };
  constexpr std::size_t whole = sizeof(detail::wire_message);
  const auto buffers = message_of(detail::message_kind::buffers);
  const auto fence = message_of(detail::message_kind::fence);
  CHECK(answer(buffers, whole, {file.get()}) == errc::bad_fd);
  CHECK(answer(buffers, whole, {event.get()}) == errc::bad_fd);
  CHECK(answer(buffers, whole, {}) == errc::invalid_argument);
  CHECK(answer(buffers, whole, {file.get(), file.get()}) == errc::invalid_argument);
  CHECK(answer(buffers, whole, std::vector<int>(9, file.get())) == errc::limit_reached);
  CHECK(answer(buffers, whole, std::vector<int>(253, file.get())) == errc::limit_reached);
  CHECK(answer(fence, whole, {file.get()}) == errc::bad_fd);
  CHECK(answer(fence, whole, {event.get()}) == errc::bad_fd);
  CHECK(answer(fence, whole, {event.get(), event.get()}) == errc::invalid_argument);
  CHECK(answer(fence, whole, {}) == errc::invalid_argument);  // It was lost on the way, and is not "signaled".
  CHECK(answer(message_of(detail::message_kind::released), whole, {file.get()}) == errc::invalid_argument);
  CHECK(answer(message_of(detail::message_kind{0}), whole, {}) == errc::invalid_argument);
  CHECK(answer(buffers, whole - 1, {file.get()}) == errc::invalid_argument);
  CHECK(answer(buffers, 1, {}) == errc::invalid_argument);
  CHECK(answer(buffers, 0, {}) == errc::invalid_argument);  // Not the end: the peer is there.
  CHECK(answer(buffers, 0, {file.get()}) == errc::invalid_argument);
  const std::vector<std::byte> larger(whole + 1);
  send_raw(here.fd(), larger.data(), larger.size(), {file.get()});
  CHECK(code_of(there.receive(long_enough())) == errc::invalid_argument);
  CHECK(descriptors() == before);
}

TEST_CASE("channel: a message that is longer than ours is refused, whatever its beginning says") {
  auto [here, there] = make_ends();
  std::vector<std::byte> larger(sizeof(detail::wire_message) + 1);
  const auto good = message_of(detail::message_kind::revoke);
  std::memcpy(larger.data(), &good, sizeof good);
  send_raw(here.fd(), larger.data(), larger.size(), {});
  CHECK(code_of(there.receive(long_enough())) == errc::invalid_argument);
}

TEST_CASE("channel: at the descriptor limit a message is lost, and nothing else") {
  auto [here, there] = make_ends();
  const unique_fd file = *detail::open("/dev/null", O_RDWR, "open");
  const auto message = message_of(detail::message_kind::buffers);
  send_raw(here.fd(), &message, sizeof message, {file.get(), file.get(), file.get()});
  const auto count = descriptors();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int next = ::dup(0);
  ::close(next);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(next) + 1;  // One of the three.
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const auto lost = there.receive(long_enough());
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(code_of(lost) == errc::limit_reached);
  CHECK(descriptors() == count);
  REQUIRE(here.send_revoke({7, 7}, soon()));
  CHECK(there.receive(long_enough()));
}

TEST_CASE("channel: a peer that is gone is disconnected, after what it had sent") {
  auto [here, there] = make_ends();
  REQUIRE(there.send_released({1, 1}, soon()));
  { const unique_fd gone = std::move(there).release(); }
  CHECK(here.receive(long_enough()));
  CHECK(code_of(here.receive(long_enough())) == errc::disconnected);
  CHECK(code_of(here.await_released({1, 1}, long_enough())) == errc::disconnected);
  CHECK(code_of(here.send_revoke({1, 1}, long_enough())) == errc::disconnected);
}

TEST_CASE("channel: a peer that does not read costs the deadline, and reads on later") {
  auto [here, there] = make_ends();
  errc last{};
  std::size_t sent = 0;
  for (; sent < 10'000 && last == errc{}; ++sent) {
    last = code_of(here.send_released({1, sent}, soon()));
  }
  CHECK(last == errc::timed_out);
  CHECK(code_of(here.send_released({1, sent}, deadline::now())) == errc::timed_out);
  for (std::size_t i = 0; i + 1 < sent; ++i) {
    const auto got = there.receive(long_enough());
    REQUIRE(got);
    REQUIRE(std::get<buffer_released>(*got).buffer == buffer_id{1, i});
  }
  CHECK(here.send_released({1, 1}, soon()));
}

TEST_CASE("channel: only a socket of packets is taken, and what else it would bring is turned off") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const unique_fd stream = unique_fd::adopt(ends[1]);
  CHECK(code_of(buffer_channel::adopt(unique_fd::adopt(ends[0]))) == errc::bad_fd);
  CHECK(::fcntl(ends[0], F_GETFD) == -1);  // It was taken, and closed.
  CHECK(code_of(buffer_channel::adopt(unique_fd())) == errc::bad_fd);
  CHECK(code_of(buffer_channel::adopt(*detail::open("/dev/null", O_RDWR, "open"))) == errc::bad_fd);

  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  const unique_fd other = unique_fd::adopt(ends[1]);
  constexpr int yes = 1;
  REQUIRE(::setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0);
  constexpr int pass_pidfd = 76;
  static_cast<void>(::setsockopt(ends[0], SOL_SOCKET, pass_pidfd, &yes, sizeof yes));  // Not before 6.5.
  auto taken = buffer_channel::adopt(unique_fd::adopt(ends[0]));
  REQUIRE(taken);
  const unique_fd event = unique_fd::adopt(::eventfd(0, EFD_CLOEXEC));
  const auto before = descriptors();
  const auto message = message_of(detail::message_kind::buffers);
  send_raw(other, &message, sizeof message, {event.get()});
  CHECK(code_of(taken->receive(long_enough())) == errc::bad_fd);  // And not "no room for descriptors".
  CHECK(descriptors() == before);
}

TEST_CASE("channel: what cannot be sent is an error before it is sent") {
  auto [here, there] = make_ends();
  CHECK(code_of(here.send(std::span<const dma_buf_ref>(), {}, 0, soon())) == errc::invalid_argument);
  auto fence = sync_file::already_signaled();
  const auto kept = std::move(fence);
  CHECK(code_of(here.send(fence, 0, soon())) == errc::bad_fd);  // NOLINT(bugprone-use-after-move): it is promised.
  CHECK(code_of(there.receive(deadline::now())) == errc::timed_out);
}

}  // namespace paddock::kernel
