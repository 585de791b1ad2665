#pragma once

#include <functional>
#include <memory>

#include "base/time.h"
#include "mlflow/message.h"
#include "mlflow/mlflow.h"
#include "mlflow/wire.h"

namespace lathe::mlflow {

/// One request as a handler sees it.
struct Asked {
  const Message& fields;
  const http::Call& call;
  Time now;

  const http::Principal& who() const { return call.principal; }
};

/// What a handler gives: an object of JSON, or, where that would be slow to build, a body that it wrote itself.
struct Answer {
  Answer() = default;
  explicit Answer(json::Object object) : response(http::json_response(std::move(object))) {}
  explicit Answer(http::Response written) : response(std::move(written)) {}
  http::Response response;
};

/// Adds routes under the roots that MLflow's clients and web app use: /api/2.0, /api/3.0 and both below /ajax-api.
class Table {
 public:
  Table(http::Router& router, db::Database& db) : router_(router), db_(db) {}

  /// For all who may look, jobs too. `handler` (Connection, Asked -> Result<json::Object> or Result<http::Response>)
  /// works in one transaction.
  template <class F>
  void read(std::string id, http::Method method, const std::string& path, std::string summary, F handler) {
    add_read(std::move(id), method, path, std::move(summary), answering(std::move(handler)));
  }
  /// The same on the writer. `track`: a job's token may call it, and the handler checks what it may write.
  template <class F>
  void write(std::string id, http::Method method, const std::string& path, http::Right right, std::string summary,
             F handler) {
    add_write(std::move(id), method, path, right, std::move(summary), answering(std::move(handler)));
  }

  /// The hot writes: `parse` (Message -> Result<T>) runs on the I/O thread, and so does `hand_over` (T, Principal,
  /// Reply), which must not block; the answer follows when a commit with the write is on disk.
  template <class Parse, class HandOver>
  void submit(std::string id, const std::string& path, std::string summary, Parse parse, HandOver hand_over) {
    const auto route = route_of(std::move(id), http::Method::post, http::Right::track, std::move(summary));
    const auto handler = [parse, hand_over](http::Call call, http::Reply reply) {
      const auto message = Message::read(call);
      if (!message) return reply(fail(message.error()));
      auto parsed = parse(*message);
      if (!parsed) return reply(fail(parsed.error()));
      hand_over(std::move(*parsed), std::move(call.principal), std::move(reply));
    };
    each_root(path, route, [&](http::Route r) { router_.add_async(std::move(r), handler); });
  }

  /// The same where `work` (Connection, Principal, const T& -> Result<json::Object> or Result<http::Response>) is all:
  /// it runs on the writer with the next commit.
  template <class Parse, class Work>
  void commit(std::string id, const std::string& path, std::string summary, Parse parse, Work work) {
    submit(std::move(id), path, std::move(summary), parse, [&db = db_, work](auto asked, auto who, http::Reply reply) {
      struct Job {
        decltype(asked) value;
        http::Principal who;
        http::Reply reply;
        Answer answer;
      };
      auto job = std::make_shared<Job>(Job{std::move(asked), std::move(who), std::move(reply), {}});
      db.submit(
          [job, work](db::Connection& c) -> Result<void> {
            LATHE_TRY(auto answer, work(c, job->who, job->value));
            job->answer = Answer(std::move(answer));
            return {};
          },
          [job](Result<void> done) {
            if (done)
              job->reply(std::move(job->answer.response));
            else
              job->reply(fail(std::move(done).error()));
          });
    });
  }

  void add(std::string id, http::Method method, const std::string& path, http::Right right, std::string summary,
           http::Router::Plain handler);
  /// For handlers that may wait for another machine, as all do that touch artifacts.
  void add_waiting(std::string id, http::Method method, const std::string& path, http::Right right, std::string summary,
                   http::Router::Plain handler, std::optional<std::size_t> body_limit = std::nullopt);
  void add_upload(std::string id, const std::string& path, std::string summary, http::Router::Upload handler);

  http::Router& router() { return router_; }
  db::Database& db() { return db_; }

 private:
  using Handler = std::function<Result<Answer>(db::Connection&, const Asked&)>;
  /// By hand: tl::expected's own conversion makes an empty Answer first, and never destroys it.
  template <class F>
  static Handler answering(F handler) {
    return [handler = std::move(handler)](db::Connection& c, const Asked& asked) -> Result<Answer> {
      LATHE_TRY(auto answer, handler(c, asked));
      return Answer(std::move(answer));
    };
  }
  void add_read(std::string id, http::Method method, const std::string& path, std::string summary, Handler handler);
  void add_write(std::string id, http::Method method, const std::string& path, http::Right right, std::string summary,
                 Handler handler);
  static http::Route route_of(std::string id, http::Method method, http::Right right, std::string summary);
  static void each_root(const std::string& path, const http::Route& route, const std::function<void(http::Route)>& add);

  http::Router& router_;
  db::Database& db_;
};

void add_experiment_routes(Table& table);
void add_run_routes(Table& table);
void add_logging_routes(Table& table);
void add_history_routes(Table& table);
void add_logged_model_routes(Table& table, storage::Storage& artifacts);
void add_registered_model_routes(Table& table);
void add_model_version_routes(Table& table);
void add_artifact_routes(Table& table, storage::Storage& artifacts);
void add_direct_routes(Table& table, storage::Storage& artifacts);
void add_web_app_routes(Table& table, storage::Storage& artifacts);
void add_import_routes(Table& table, storage::Storage& artifacts);
void add_trace_routes(Table& table, storage::Storage& artifacts);
void add_assessment_routes(Table& table);
void add_otlp_route(http::Router& router, db::Database& db);

/// The model that the caller's job makes again, NAME:VERSION (tracking/rebuild_tags.h); nullopt: none.
Result<std::optional<std::string>> rebuilt_by(db::Connection& c, const http::Principal& who);

/// "ACTIVE_ONLY", ...; absent: active only.
Result<tracking::View> view_of(const Message& message, std::string_view name);
/// `max_results`, at least 1. Errors: `invalid`.
Result<std::size_t> limit_of(const Message& message, std::size_t absent);
/// `version`: a whole number, which clients send as a text. Errors: `invalid`.
Result<std::int64_t> version_of(const Message& message);
std::vector<tracking::Tag> tags_of(std::vector<Pair> pairs);
/// A point, as clients log it. `timestamp_needed`: else it is 0 where it is absent.
Result<tracking::Metric> metric_of(const Message& fields, bool timestamp_needed);
/// A data set with the tags of its use: {"dataset": {...}, "tags": [...]}.
Result<tracking::DatasetInput> dataset_of(const Message& item);
/// The list `name` of {"model_id", "step"}.
Result<std::vector<tracking::ModelLink>> links_of(const Message& fields, std::string_view name);

}  // namespace lathe::mlflow
