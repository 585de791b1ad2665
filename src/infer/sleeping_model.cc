#include "infer/sleeping_model.h"

#include <future>

#include "infer/residents.h"

namespace lathe::infer {

SleepingModel::SleepingModel(Residents& residents, Held awake, Terms terms)
    : residents_(residents),
      terms_(std::move(terms)),
      platform_(awake->platform()),
      inputs_(awake->inputs()),
      outputs_(awake->outputs()),
      columns_(awake->columns()),
      converts_numbers_(awake->converts_numbers()),
      awake_(std::move(awake)),
      last_used_(Clock::now()) {}

SleepingModel::~SleepingModel() {
  residents_.remove(this);
}

SleepingModel::Held SleepingModel::use() const {
  auto held = awake_.load();
  if (held) last_used_.store(Clock::now(), std::memory_order_relaxed);
  return held;
}

SleepingModel::Held SleepingModel::leave() const {
  auto held = awake_.exchange(nullptr);
  if (held.use_count() <= 1) return held;
  awake_.store(std::move(held));  // who finds none meanwhile asks the residents, and waits for their lock
  return nullptr;
}

std::string SleepingModel::trouble() const {
  return residents_.trouble(*this);
}

void SleepingModel::wake(Then then) const {
  residents_.wake(*this, std::move(then));
}

Result<void> SleepingModel::run(std::span<const Tensor> inputs, std::span<const std::size_t> wanted,
                                std::vector<Tensor>& outputs) const {
  auto held = use();
  if (!held) {
    std::promise<Result<Held>> woken;
    wake([&](Result<Held> known) { woken.set_value(std::move(known)); });
    LATHE_TRY(held, woken.get_future().get());
  }
  return held->run(inputs, wanted, outputs);
}

}  // namespace lathe::infer
