#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <charconv>
#include <filesystem>

#include "base/file.h"
#include "base/held_folder.h"
#include "base/text.h"
#include "base/utf8.h"
#include "http/file_response.h"
#include "jobs/follow.h"
#include "jobs/jobs.h"
#include "jobs/mpi.h"

namespace lathe::jobs {

struct JobFile {
  std::string path;
  std::int64_t size = 0;
};
struct JobFiles {
  std::vector<JobFile> value;
};

}  // namespace lathe::jobs

namespace lathe::json {

template <>
struct Fields<jobs::JobFile> {
  static constexpr std::string_view name = "JobFile";
  static constexpr auto list = std::tuple{field("path", &jobs::JobFile::path, "below named-outputs/NAME, artifacts or logs"),
                                          field("size", &jobs::JobFile::size, "bytes")};
};
template <>
struct Fields<jobs::JobFiles> {
  static constexpr std::string_view name = "JobFiles";
  static constexpr auto list = std::tuple{field("value", &jobs::JobFiles::value)};
};

}  // namespace lathe::json

namespace lathe::jobs {
namespace {

namespace fs = std::filesystem;
using http::Call;
using http::Method;
using http::Response;
using http::Right;

bool is_loopback(std::string_view peer) { return peer.starts_with("127.") || peer == "::1" || peer.starts_with("::ffff:127."); }

Result<std::uint64_t> number_query(const Call& call, std::string_view name, std::uint64_t fallback) {
  const auto text = call.query(name);
  if (!text) return fallback;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size() || text->empty())
    return fail(Code::invalid, fmt::format("{}: must be a whole number, not \"{}\"", name, *text));
  return value;
}

Result<std::int64_t> rank_query(const Call& call) {
  LATHE_TRY(const auto rank, number_query(call, "rank", 0));
  return static_cast<std::int64_t>(std::min<std::uint64_t>(rank, INT64_MAX));
}

Result<Wanted> wanted_of(const Call& call) {
  Wanted wanted;
  wanted.state = call.query("state").value_or("");
  if (!wanted.state.empty() && !parse_state(wanted.state))
    return fail(Code::invalid, "state: " + unknown_name("job state", printable(wanted.state), state_names()));
  wanted.experiment_name = call.query("experiment_name").value_or("");
  wanted.with_archived = call.query("include_archived") == "true";
  LATHE_TRY(const auto limit, number_query(call, "limit", 100));
  if (limit < 1 || limit > 1000) return fail(Code::invalid, "limit: must be from 1 to 1000");
  wanted.limit = static_cast<std::int64_t>(limit);
  LATHE_TRY(const auto below, number_query(call, "next", INT64_MAX));
  if (below < INT64_MAX) wanted.below = static_cast<std::int64_t>(below);
  return wanted;
}

/// What the job's run logged, among the artifacts.
std::string artifacts_of(const Job& job) { return fmt::format("{}/{}/artifacts", job.experiment_id, job.name); }

/// Where each part of what a job leaves on this machine lies, by its name outside.
struct Root {
  std::string prefix;
  Fd held;
  fs::path folder;
};
std::vector<Root> roots_of(Jobs& jobs, const Job& job) {
  std::vector<Root> out;
  const auto add = [&](const char* prefix, const fs::path& base, const std::string& relative) {
    if (auto held = open_folder(base, relative)) {
      auto folder = path_of(*held);
      out.push_back({prefix, std::move(*held), std::move(folder)});
    }
  };
  // The job can put links where its working folders were: what they lead to is not for those who read its files.
  const auto own = jobs.launcher().work_folder(job.name).parent_path();
  add("named-outputs/", own, "work/outputs");
  // Azure keeps these two of the working folder without being asked.
  add("artifacts/outputs/", own, "work/code/outputs");
  add("artifacts/logs/", own, "work/code/logs");
  return out;
}

/// What the job printed: as a whole (of several processes the first one's), and each process of several.
constexpr std::string_view kWholeLog = "logs/user_logs/std_log.txt";
std::string rank_log(std::int64_t rank) {
  return fmt::format("logs/user_logs/std_log_process_{}.txt", rank);
}

Result<void> list_logs(Jobs& jobs, const Job& job, JobFiles& out) {
  const auto add = [&](std::string path, std::int64_t rank) -> Result<void> {
    LATHE_TRY(const auto folder, jobs.log_folder(job, rank));
    const auto log = process::read_log(folder, 0);
    if (!log && log.error().code == Code::not_found) return {};  // it has not begun
    if (!log) return fail(log.error());
    if (log->next > 0) out.value.push_back({std::move(path), static_cast<std::int64_t>(log->next)});
    return {};
  };
  LATHE_CHECK(add(std::string(kWholeLog), 0));
  const auto spread = Jobs::spread_of(job);
  if (spread.single()) return {};
  for (std::int64_t rank = 0; rank < spread.processes(); ++rank) {
    if (spread.type != "mpi") {
      LATHE_CHECK(add(rank_log(rank), rank));
      continue;
    }
    struct stat found {};
    const auto file = open_beneath(jobs.launcher().work_folder(job.name), mpi::log_file(spread, rank),
                                   O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    if (file && ::fstat(file->get(), &found) == 0 && S_ISREG(found.st_mode))
      out.value.push_back({rank_log(rank), found.st_size});
  }
  return {};
}

/// The rank whose log a path names; nothing when it names none.
std::optional<std::int64_t> rank_of_log(const Job& job, std::string_view path) {
  if (path == kWholeLog) return 0;
  const auto spread = Jobs::spread_of(job);
  for (std::int64_t rank = 0; !spread.single() && rank < spread.processes(); ++rank)
    if (path == rank_log(rank)) return rank;
  return std::nullopt;
}

Result<JobFiles> list_files(Jobs& jobs, storage::Storage& artifacts, const std::string& name) {
  LATHE_TRY(const auto job, jobs.db().read([&](db::Connection& c) { return find_job(c, name); }));
  JobFiles out;
  for (const auto& root : roots_of(jobs, job)) {
    std::error_code error;
    for (auto it = fs::recursive_directory_iterator(root.folder, fs::directory_options::skip_permission_denied, error);
         !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      std::error_code ignored;
      if (it->is_symlink(ignored) || !it->is_regular_file(ignored)) continue;
      const auto path = it->path().lexically_relative(root.folder).string();
      if (!is_utf8(path)) continue;  // JSON cannot name it
      out.value.push_back({root.prefix + path, static_cast<std::int64_t>(it->file_size(ignored))});
    }
  }
  LATHE_CHECK(list_logs(jobs, job, out));
  LATHE_TRY(const auto logged, artifacts.files(artifacts_of(job)));
  for (const auto& file : logged)
    if (is_utf8(file.path)) out.value.push_back({"artifacts/" + file.path, static_cast<std::int64_t>(file.size)});
  std::sort(out.value.begin(), out.value.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return out;
}

Result<Response> send_file(Jobs& jobs, storage::Storage& artifacts, const std::string& name, const std::string& path, std::optional<std::string_view> range) {
  LATHE_TRY(const auto job, jobs.db().read([&](db::Connection& c) { return find_job(c, name); }));
  if (const auto rank = rank_of_log(job, path)) {
    const auto file_name = path.substr(path.rfind('/') + 1);
    if (const auto spread = Jobs::spread_of(job); spread.type == "mpi" && path != kWholeLog) {
      LATHE_TRY(auto file, open_beneath(jobs.launcher().work_folder(name), mpi::log_file(spread, *rank),
                                        O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
      return http::file_response(std::move(file), file_name, range);
    }
    LATHE_TRY(const auto folder, jobs.log_folder(job, *rank));
    Response response;
    response.type = "application/octet-stream";
    response.headers.emplace_back("Content-Disposition", fmt::format("attachment; filename=\"{}\"", file_name));
    response.source = log_so_far(folder, 0);
    return response;
  }
  for (const auto& root : roots_of(jobs, job)) {
    if (!path.starts_with(root.prefix)) continue;
    auto file = open_beneath(root.folder, std::string_view(path).substr(root.prefix.size()), O_RDONLY | O_NONBLOCK);
    if (!file) continue;
    if (auto response = http::file_response(std::move(*file), path.substr(path.rfind('/') + 1), range)) return response;
  }
  if (path.starts_with("artifacts/")) {
    auto response = artifacts.download(artifacts_of(job) + path.substr(path.find('/')), range);
    if (response || response.error().code == Code::unavailable) return response;
  }
  return fail(Code::not_found, fmt::format("the job {} has no file \"{}\"; `lathe job download` fetches what there is", name, printable(path)));
}

Followed followed(Jobs& jobs, const std::string& name, std::int64_t rank) {
  Followed out;
  out.look = [&jobs, name, rank]() -> Result<Glance> {
    LATHE_TRY(const auto job, jobs.db().read([&](db::Connection& c) { return find_job(c, name); }));
    LATHE_TRY(auto folder, jobs.log_folder(job, rank));
    return Glance{json::to_json(jobs.answer(job)), is_final(job.state), std::move(folder)};
  };
  out.on_change = [&jobs, name](std::function<void()> wake) { return jobs.on_change(name, std::move(wake)); };
  out.log_watch = &jobs.logs();
  return out;
}

std::string name_of_call(const Call& call) { return std::string(call.param("name")); }

}  // namespace

void add_routes(http::Router& router, Jobs& jobs, storage::Storage& artifacts) {
  router.add_json({.id = "job_create", .method = Method::post, .path = "/api/v1/jobs", .right = Right::write,
                   .summary = "Submit a job: an Azure command-job document. With strict=true nothing is substituted or ignored."},
                  [&](const Call& call) -> Result<JobAnswer> {
                    LATHE_TRY(const auto document, call.json_body());
                    return jobs.submit(document, call.query("strict") == "true", {call.principal, is_loopback(call.peer)});
                  },
                  201);
  router.add_json({.id = "job_list", .method = Method::get, .path = "/api/v1/jobs", .right = Right::read,
                   .summary = "Jobs, newest first: limit, next, state, experiment_name, include_archived."},
                  [&](const Call& call) -> Result<Jobs::Page> {
                    LATHE_TRY(const auto wanted, wanted_of(call));
                    return jobs.list(wanted);
                  });
  router.add_json({.id = "job_show", .method = Method::get, .path = "/api/v1/jobs/{name}", .right = Right::read, .summary = "One job."},
                  [&](const Call& call) { return jobs.show(name_of_call(call)); });
  router.add_json({.id = "job_why", .method = Method::get, .path = "/api/v1/jobs/{name}/why", .right = Right::read,
                   .summary = "What a queued job waits for, its place, when it may start, and what would let it start sooner."},
                  [&](const Call& call) { return jobs.why(name_of_call(call)); });
  router.add_json({.id = "job_cancel", .method = Method::post, .path = "/api/v1/jobs/{name}/cancel", .right = Right::write,
                   .summary = "Ask a job to stop; answers at once with the new state."},
                  [&](const Call& call) { return jobs.cancel(name_of_call(call), call.principal.user); });
  router.add_json({.id = "job_archive", .method = Method::post, .path = "/api/v1/jobs/{name}/archive", .right = Right::write,
                   .summary = "Hide a job from lists."},
                  [&](const Call& call) { return jobs.archive(name_of_call(call), true); });
  router.add_json({.id = "job_restore", .method = Method::post, .path = "/api/v1/jobs/{name}/restore", .right = Right::write,
                   .summary = "Show an archived job in lists again."},
                  [&](const Call& call) { return jobs.archive(name_of_call(call), false); });
  router.add({.id = "job_log",
              .method = Method::get,
              .path = "/api/v1/jobs/{name}/log",
              .right = Right::read,
              .summary = "What the job has printed so far, from offset on; of several processes the one that rank "
                         "names, or the first."},
             [&](Call& call) -> Result<Response> {
               const auto name = name_of_call(call);
               LATHE_TRY(const auto job, jobs.db().read([&](db::Connection& c) { return find_job(c, name); }));
               LATHE_TRY(const auto offset, number_query(call, "offset", 0));
               LATHE_TRY(const auto rank, rank_query(call));
               LATHE_TRY(const auto folder, jobs.log_folder(job, rank));
               Response response;
               response.type = "text/plain; charset=utf-8";
               response.source = log_so_far(folder, offset);
               return response;
             });
  router.add(
      {.id = "job_events",
       .method = Method::get,
       .path = "/api/v1/jobs/{name}/events",
       .right = Right::read,
       .summary =
           "Log and states as they come (server-sent events); resumes from offset or Last-Event-ID. rank: whose log."},
      [&](Call& call) -> Result<Response> {
        const auto name = name_of_call(call);
        LATHE_TRY(const auto job, jobs.db().read([&](db::Connection& c) { return find_job(c, name); }));
        LATHE_TRY(const auto rank, rank_query(call));
        LATHE_CHECK(jobs.log_folder(job, rank));
        if (const auto last = call.header("last-event-id"); last && !call.query("offset"))
          call.queries.emplace_back("offset", *last);
        LATHE_TRY(const auto offset, number_query(call, "offset", 0));
        Response response;
        response.type = "text/event-stream";
        response.source = follow(followed(jobs, name, rank), offset);
        return response;
      });
  router.add_json({.id = "job_files", .method = Method::get, .path = "/api/v1/jobs/{name}/files", .right = Right::read,
                   .summary = "What the job left: outputs, artifacts, its log.", .waits = true},
                  [&](const Call& call) { return list_files(jobs, artifacts, name_of_call(call)); });
  router.add({.id = "job_file", .method = Method::get, .path = "/api/v1/jobs/{name}/files/{path*}", .right = Right::read, .summary = "One of those files.", .waits = true},
             [&](Call& call) { return send_file(jobs, artifacts, name_of_call(call), std::string(call.param("path")), call.header("range")); });
}

}  // namespace lathe::jobs
