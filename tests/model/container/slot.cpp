// SPDX-License-Identifier: BSL-1.0
// The slot of a counted reference: readers take references while others replace it and drop what was there.
#include <model.hpp>

#include <paddock/fence/shared_slot.hpp>

namespace paddock::model {
namespace {

struct object {
  explicit object(int value) : references(1), payload(value) {}
  void get() { references.fetch_add(1, std::memory_order_relaxed); }
  void put() {
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
  }
  atomic<std::uint32_t> references;
  plain<int> payload;
};

using slot = detail::shared_slot<relacy_traits, object>;

void read(slot& from) {
  object* const held = from.acquire();
  const int seen = held->payload.get();
  RL_ASSERT(seen == 1 || seen == 2);
  held->put();
}

/// Replaces what is there, which it holds a reference of, by an object that it makes.
void replace(slot& in, object* held) {
  auto* const made = new object(2);
  if (in.replace(held, made)) {
    held->put();  // The slot's.
  } else {
    made->put();
  }
  held->put();
}

/// Threads above `Replacers` read, the others replace the same object.
template <int Readers, int Replacers>
struct readers_and_replacers : suite<readers_and_replacers<Readers, Replacers>, Readers + Replacers> {
  void before() {
    first = new object(1);
    for (int i = 0; i < Replacers; ++i) {
      first->get();
    }
    place = new slot(first);
  }
  void thread(unsigned index) {
    if (index < Replacers) {
      replace(*place, first);
    } else {
      read(*place);
    }
  }
  void after() {
    place->take()->put();
    delete place;
  }
  object* first{nullptr};
  slot* place{nullptr};
};

const registered one{"slot", "a reader and a replacer", unbounded, &run_suite<readers_and_replacers<1, 1>>};
const registered two{"slot", "two readers and a replacer", 2, &run_suite<readers_and_replacers<2, 1>>};
const registered three{"slot", "a reader and two replacers", 2, &run_suite<readers_and_replacers<1, 2>>};

}  // namespace
}  // namespace paddock::model
