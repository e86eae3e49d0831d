// SPDX-License-Identifier: BSL-1.0
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "interface.hpp"

using namespace paddock;

namespace {

const plugin::table& load(const char* path) {
  void* library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  INFO(path);
  REQUIRE(library != nullptr);
  // Never closed: a plugin stays as long as anything that it made may be alive.
  const auto entry = reinterpret_cast<const plugin::table* (*)()>(::dlsym(library, plugin::entry_point));
  REQUIRE(entry != nullptr);
  return *entry();
}

const plugin::table& plugin_a() { return load(PADDOCK_TEST_PLUGIN_A); }
const plugin::table& plugin_b() { return load(PADDOCK_TEST_PLUGIN_B); }

int lost_in_a = 0;
int lost_in_b = 0;

}  // namespace

TEST_CASE("the two plugins share no inline variable, or these tests would prove nothing") {
  CHECK(plugin_a().address_of_category() != plugin_b().address_of_category());
}

TEST_CASE("an error code that one plugin made is understood by the other and by the program") {
  const std::error_code made_by_a = plugin_a().make_code(errc::revoked);
  CHECK(plugin_b().code_is(made_by_a, errc::revoked));
  CHECK_FALSE(plugin_b().code_is(made_by_a, errc::busy));
  CHECK(made_by_a == errc::revoked);
  CHECK(made_by_a.message() == "revoked");
}

TEST_CASE("each plugin has a lost-error handler of its own") {
  plugin_a().set_handler([](const error&) noexcept { ++lost_in_a; });
  plugin_b().set_handler([](const error&) noexcept { ++lost_in_b; });
  plugin_a().report(error{errc::io, 0, "a"});
  CHECK(lost_in_a == 1);
  CHECK(lost_in_b == 0);
  plugin_b().report(error{errc::io, 0, "b"});
  CHECK(lost_in_a == 1);
  CHECK(lost_in_b == 1);
}

TEST_CASE("fences of two plugins never share a context") {
  CHECK(plugin_a().new_context_id() != plugin_b().new_context_id());
}

TEST_CASE("one plugin's fence is waited for in another and signaled by the first") {
  const fence_ptr made_by_a = plugin_a().make_fence();
  REQUIRE(made_by_a);
  wait_status ended = wait_status::timed_out;
  const plugin::table& b = plugin_b();  // Loaded by this thread, whose assertions it has.
  std::thread waiter([&] { ended = b.wait(*made_by_a); });
  CHECK(plugin_a().signal(*made_by_a));
  waiter.join();
  CHECK(ended == wait_status::signaled);
  CHECK_FALSE(plugin_b().signal(*made_by_a));
}

namespace {
struct asking_callback : fence_callback {
  asking_callback() noexcept : fence_callback(&ask) {}
  static void ask(fence_callback& node, const fence_outcome&) noexcept {
    auto& self = static_cast<asking_callback&>(node);
    self.answer = self.on->remove_callback(node);
  }
  fence_ptr on;
  remove_outcome answer{remove_outcome::removed};
};
}  // namespace

TEST_CASE("a callback that another shared object runs knows that it is running here") {
  const fence_ptr made_by_a = plugin_a().make_fence();
  REQUIRE(made_by_a);
  asking_callback node;
  node.on = made_by_a;
  REQUIRE(made_by_a->add_callback(node) == add_outcome::added);
  CHECK(plugin_a().signal(*made_by_a));
  CHECK(node.answer == remove_outcome::running_here);
}

namespace {

/// Made by one plugin, and destroyed by it.
class shared_reservation {
 public:
  explicit shared_reservation(const plugin::table& by) : by_(by), made_(by.make_reservation()) {
    REQUIRE(made_ != nullptr);
  }
  shared_reservation(const shared_reservation&) = delete;
  shared_reservation& operator=(const shared_reservation&) = delete;
  ~shared_reservation() { by_.destroy_reservation(made_); }
  [[nodiscard]] reservation& operator*() const noexcept { return *made_; }

 private:
  const plugin::table& by_;
  reservation* made_;
};

std::atomic<int> freed{0};
constexpr fence_ops counting{.release = [](fence&) noexcept { ++freed; }};
fence_ptr make_counted() {
  fence_context context("host", std::chrono::seconds(1));
  return *context.create(&counting);
}

}  // namespace

TEST_CASE("a reservation that one plugin made is read and changed by another, and by the program") {
  const shared_reservation r(plugin_a());
  const fence_ptr f = plugin_b().make_fence();
  CHECK(plugin_b().add(*r, f));
  CHECK(plugin_a().pending(*r) == 1);
  CHECK(plugin_b().pending(*r) == 1);
  CHECK_FALSE((*r).test_signaled(usage::read));
  CHECK(plugin_a().add(*r, plugin_a().make_fence()));
  CHECK(plugin_b().pending(*r) == 2);
  CHECK(plugin_a().signal(*f));
  CHECK(plugin_b().pending(*r) == 1);
}

TEST_CASE("a lock that one plugin took is known to another") {
  const shared_reservation r(plugin_a());
  acquire_context context;
  resv_lock lock;
  CHECK(plugin_b().lock(*r, context, lock) == errc{});
  CHECK(lock.holds(*r));
  CHECK(context.held() == 1);
  CHECK((*r).reserve(lock, 1));
  resv_lock none;
  CHECK(plugin_a().lock(*r, context, none) == errc::already_locked);
  lock.unlock();
  // Without a context: by thread, which is the same one in all of them.
  const auto held = (*r).lock();
  REQUIRE(held);
  CHECK_FALSE(plugin_a().add(*r, plugin_a().make_fence()));
}

TEST_CASE("what one plugin's guard may see is not freed by another, in the same thread or not") {
  for (const bool in_other_thread : {false, true}) {
    for (const plugin::table* reader : {&plugin_a(), &plugin_b()}) {
      const plugin::table& writer = reader == &plugin_a() ? plugin_b() : plugin_a();
      const shared_reservation r(plugin_a());
      freed = 0;
      fence_ptr seen = make_counted();
      REQUIRE(writer.add(*r, seen));
      seen->signal();
      seen.reset();
      struct {
        const plugin::table& writer;
        reservation& r;
        bool in_other_thread;
        int freed_meanwhile{0};
        bool added{false};
      } state{writer, *r, in_other_thread};
      reader->guarded(
          *r,
          [](void* argument) {
            auto& s = *static_cast<decltype(state)*>(argument);
            const auto change = [&s] { s.added = s.writer.add(s.r, s.writer.make_fence()); };
            if (s.in_other_thread) {
              std::thread(change).join();
            } else {
              change();
            }
            s.freed_meanwhile = freed;
          },
          &state);
      CHECK(state.added);
      CHECK(state.freed_meanwhile == 0);
      CHECK(writer.add(*r, writer.make_fence()));
      CHECK(freed == 1);
    }
  }
}

TEST_CASE("a thread reads the reservations of two plugins, and what it may see of either is not freed") {
  const shared_reservation of_a(plugin_a());
  const shared_reservation of_b(plugin_b());
  for (const auto* each : {&of_a, &of_b, &of_a}) {
    freed = 0;
    fence_ptr seen = make_counted();
    CHECK(plugin_b().add(**each, seen));
    seen->signal();
    seen.reset();
    // It has looked at both before, and at the other one last.
    CHECK(plugin_a().pending(*of_a) == plugin_a().pending(*of_b));
    const shared_reservation& other = each == &of_a ? of_b : of_a;
    CHECK((*other).test_signaled(usage::kernel));
    {
      const resv_guard inside(**each);
      CHECK((*other).test_signaled(usage::kernel));
      bool added = false;
      std::thread([&] {
        const fence_ptr f = plugin_b().make_fence();
        added = plugin_b().add(**each, f);
        f->signal();
      }).join();
      CHECK(added);
      CHECK(freed == 0);
    }
    CHECK(plugin_a().add(**each, plugin_a().make_fence()));
    CHECK(freed == 1);
    (**each).for_each(usage::read, [](fence& f, usage) { f.signal(); });
  }
}

TEST_CASE("threads of two plugins read while threads of both add") {
  const shared_reservation r(plugin_a());
  std::atomic<int> adding{2};
  std::atomic<bool> all_good{true};
  const auto check = [&](bool good) {
    if (!good) {
      all_good = false;
    }
  };
  std::vector<std::thread> threads;
  for (const plugin::table* each : {&plugin_a(), &plugin_b()}) {
    threads.emplace_back([&, each] {
      for (int i = 0; i < 2000; ++i) {
        const fence_ptr f = make_counted();
        check(each->add(*r, f));
        check(each->signal(*f));
      }
      --adding;
    });
    threads.emplace_back([&, each] {
      while (adding != 0) {
        // One that comes and goes.
        std::thread([&, each] {
          for (int i = 0; i < 50; ++i) {
            (*r).for_each(usage::read, [](fence& f, usage) { static_cast<void>(f.is_signaled()); });
            static_cast<void>(each->pending(*r));
          }
        }).join();
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(all_good);
  CHECK(plugin_a().pending(*r) == 0);
  CHECK(plugin_b().pending(*r) == 0);
}
