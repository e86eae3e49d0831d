// SPDX-License-Identifier: BSL-1.0
#include <dlfcn.h>

#include <thread>

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
  std::thread waiter([&] { ended = plugin_b().wait(*made_by_a); });
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
