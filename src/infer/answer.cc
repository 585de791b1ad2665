#include "infer/answer.h"

#include "infer/catalog.h"
#include "infer/load_model.h"
#include "infer/predict.h"
#include "infer/protocols/scoring.h"
#include "infer/sample_rows.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kSampleRows = 256;
constexpr int kCannotBeLoaded = 422;

struct Question {
  Operation operation = Operation::invocations;
  std::string body;
  std::string content_type;
};

Result<std::optional<Question>> read_question(std::string_view text) {
  LATHE_TRY(const auto object, json::parse_object(text));
  LATHE_TRY(const auto* const request, json::get_object(object, "request"));
  if (request == nullptr) return std::optional<Question>();
  Question question;
  LATHE_TRY(question.body, json::need_string(*request, "body"));
  question.body.reserve(question.body.size() + simdjson::SIMDJSON_PADDING);
  LATHE_TRY(const auto type, json::get_string(*request, "content_type"));
  question.content_type = type.value_or("application/json");
  LATHE_TRY(const auto open, json::get_bool(*request, "open_inference"));
  if (open.value_or(false)) question.operation = Operation::infer;
  return std::optional(std::move(question));
}

/// To rows that nobody gave.
void answer_samples(const Deployment& deployment, http::Reply& reply) {
  std::vector<Tensor> outputs;
  const auto inputs = sample_inputs(*deployment.model, kSampleRows);
  if (const auto ran = deployment.model->run(inputs, deployment.predictions, outputs); !ran)
    return refuse(reply, ran.error());
  append_predictions(reply.body, ScoringStyle::mlflow, outputs);
}

http::Reply answer(const DesiredDeployment& wanted, const std::optional<Question>& question) {
  http::Reply reply;
  auto loaded = load_model(wanted.model);
  if (!loaded) {
    refuse(reply, loaded.error());
    reply.status = kCannotBeLoaded;
    return reply;
  }
  const Deployment deployment(wanted.model.name, wanted, std::move(loaded->model), loaded->warm_run,
                              std::make_shared<Stats>());
  if (!question) {
    answer_samples(deployment, reply);
    return reply;
  }
  http::Request request;
  request.body = question->body;
  request.headers = {{"content-type", question->content_type}};
  predict_now(question->operation, request, deployment, {}, nullptr, reply);
  return reply;
}

Result<json::Array> answers(std::string_view text) {
  LATHE_TRY(const auto desired, parse_desired(text));
  LATHE_TRY(const auto question, read_question(text));
  json::Array out;
  for (const auto& endpoint : desired.endpoints)
    for (const auto& deployment : endpoint.deployments) {
      const auto reply = answer(deployment, question);
      out.push_back(json::Object{{"status", reply.status}, {"body", reply.body}});
    }
  return out;
}

}  // namespace

std::string answer_question(std::string_view question) {
  auto given = answers(question);
  if (!given) return json::print(json::Object{{"error", given.error().message}});
  return json::print(json::Object{{"answers", std::move(*given)}});
}

}  // namespace lathe::infer
