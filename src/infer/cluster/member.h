#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "base/file.h"
#include "infer/cluster/captured.h"
#include "infer/cluster/counts.h"
#include "infer/cluster/model_files.h"

/// `lathe-infer --join URL --token-file F`: this machine answers predictions beside the server.
namespace lathe::infer {

struct MemberOptions {
  std::filesystem::path folder;      ///< of the data plane
  std::string server;                ///< "https://ml.example.org:8080"
  std::string certificate_sha256;    ///< that the server must show; empty: the system's trust
  std::filesystem::path token_file;  ///< read again when the server does not know its content
  std::string url;                   ///< where others reach this data plane; empty: as it reports itself
  std::string grpc;                  ///< the same by gRPC, HOST:PORT
  std::filesystem::path captured;    ///< where predictions are captured, for the server
};

class ServerLink;

/// Says to the server, twice a second, how this data plane is, learns what it should serve, fetches the models' files
/// and writes FOLDER/desired.json, which the reconciler follows; what was captured of predictions it hands over. While
/// the server is away all stays as it is. A server that does not know the token ends what is served, since that is how
/// a node is put out.
class Member {
 public:
  /// `catalog` outlives it. Errors: `conflict` — another process has the folder; the token's file cannot be read.
  static Result<std::unique_ptr<Member>> open(MemberOptions options, const CatalogHolder& catalog);
  /// Stops, after the requests that are under way. Where the server answers, it hears what was counted until now, and
  /// within ten seconds gets what was captured.
  ~Member();
  Member(const Member&) = delete;

  /// Begins to follow the server. The data plane's reports are there.
  void start();

 private:
  using Clock = std::chrono::steady_clock;
  struct Failure {
    std::string error;
    int times = 0;
    Clock::time_point again;
  };

  Member(MemberOptions options, Fd lock, const CatalogHolder& catalog)
      : options_(std::move(options)), lock_(std::move(lock)), catalog_(catalog) {}

  void talk();
  Result<void> exchange(ServerLink& link);
  std::string say();
  void fetch_models();
  void hand_over_captured();
  Result<void> download(ServerLink& link, const std::string& sha256, const std::filesystem::path& path);
  /// Writes what can be followed now. Answers what is missing.
  std::vector<MissingModel> follow(const json::Object& wanted);
  bool has(const MissingModel& model);
  void put_out();

  const MemberOptions options_;
  const Fd lock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool answered_ = false;  ///< by the server, when it was asked last
  const CatalogHolder& catalog_;
  TellCounts counts_;  ///< of the thread that talks
  std::string etag_;
  std::shared_ptr<const json::Object> wanted_;  ///< the server's document; null before it said one
  std::vector<MissingModel> missing_;
  std::vector<NotTaken> not_taken_;
  std::map<std::filesystem::path, Failure> failed_;  ///< by the model's folder
  std::set<std::filesystem::path> whole_;            ///< folders that were looked at; of the fetching thread
  bool fetched_ = false;                             ///< a model, since the document was written; of the same thread
  std::thread talking_;
  std::thread fetching_;
  std::thread handing_over_;
};

}  // namespace lathe::infer
