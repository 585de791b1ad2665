#include "serving/ask.h"

#include <cstring>

#include "base/log.h"
#include "base/text.h"
#include "process/command.h"

namespace lathe::serving {
namespace {

/// Where libraries and GPUs are, and how sanitizers report. No secrets: models run there.
const std::vector<std::string_view> kKept{
    "PATH=",         "LANG=",         "TZ=", "LD_LIBRARY_PATH=", "LATHE_ONNXRUNTIME=", "CUDA_VISIBLE_DEVICES=",
    "ASAN_OPTIONS=", "UBSAN_OPTIONS="};

constexpr int kSignalled = 128;  ///< and the signal: the status of a command that one ended

/// What lathe-infer says to a question.
Result<std::string> ask(const std::filesystem::path& program, const std::string& question, std::chrono::seconds limit) {
  auto done = process::run_command({program.string(), "--answer"}, question, limit, kKept);
  if (!done && done.error().code == Code::timeout)
    return fail(Code::timeout, "the models did not answer within " + std::to_string(limit.count()) + " s");
  if (!done)
    return fail(done.error().code == Code::exhausted ? Code::exhausted : Code::unavailable, done.error().message);
  if (!done->err.empty()) log::warn("models that were asked said text=\"{}\"", printable(trim(done->err)));
  if (done->status > kSignalled)
    return fail(Code::invalid,
                std::string("a model ended the program that ran it (") + strsignal(done->status - kSignalled) + ")");
  return std::move(done->out);
}

std::string question_of(const std::vector<Spec>& models, const std::optional<Request>& request) {
  json::Array deployments;
  for (const auto& spec : models) deployments.push_back(desired_deployment(std::to_string(deployments.size()), spec));
  json::Array endpoints;
  endpoints.push_back(json::Object{{"name", "models"}, {"deployments", std::move(deployments)}});
  json::Object out{{"generation", 1}, {"endpoints", std::move(endpoints)}};
  if (request)
    out["request"] = json::Object{{"body", request->body},
                                  {"content_type", request->content_type},
                                  {"open_inference", is_open_inference(request->body)}};
  return json::print(out);
}

}  // namespace

Result<std::vector<Answer>> ask_models(const std::filesystem::path& program, const std::vector<Spec>& models,
                                       const std::optional<Request>& request, std::chrono::seconds limit) {
  LATHE_TRY(const auto text, ask(program, question_of(models, request), limit));
  LATHE_TRY(const auto said, json::parse_object(text));
  if (const auto error = json::get_string(said, "error"); error && *error) return fail(Code::internal, **error);
  LATHE_TRY(const auto* list, json::get_array(said, "answers"));
  std::vector<Answer> out;
  if (list != nullptr)
    for (const auto& each : *list) {
      Answer answer;
      LATHE_TRY(const auto status, json::get_int(each.as_object(), "status"));
      LATHE_TRY(answer.body, json::need_string(each.as_object(), "body"));
      answer.status = static_cast<int>(status.value_or(0));
      out.push_back(std::move(answer));
    }
  if (out.size() != models.size()) return fail(Code::internal, "lathe-infer did not answer for each model");
  return out;
}

}  // namespace lathe::serving
