#pragma once

#include <string>
#include <string_view>

namespace lathe::infer {

/// `lathe-infer --answer` reads one question from its standard input, prints the answer, and ends: for whoever wants to
/// compare models without serving them.
constexpr std::string_view kAnswerFlag = "--answer";

/// The question is a desired state (desired_state.h), whose deployments are asked in their order, with what they are
/// asked beside it: {"generation", "endpoints", "request": {"body", "content_type", "open_inference"}}. Without a
/// request each model gets the same rows of numbers (sample_rows.h). The answer: {"answers": [{"status", "body"}]},
/// where 422 says that the model cannot be loaded; or {"error"}. Blocks for as long as loading and running take.
std::string answer_question(std::string_view question);

}  // namespace lathe::infer
