#include <gtest/gtest.h>

#include <filesystem>

#include "assets/assets.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

const http::Principal kAdministrator{1, "ada", http::Role::administrator, {}};
const http::Principal kMember{2, "bob", http::Role::member, {}};

template <class T>
bool parses_as(std::string_view text) {
  const auto reference = parse_reference(text);
  return reference && std::holds_alternative<T>(*reference);
}

TEST(Reference, AzuresShapesAreUnderstood) {
  EXPECT_EQ(std::get<NamedVersion>(*parse_reference("azureml:credit:3")).version, "3");
  EXPECT_EQ(std::get<NamedLabel>(*parse_reference("azureml:credit@prod")).label, "prod");
  EXPECT_EQ(std::get<NamedLabel>(*parse_reference("azureml:credit")).label, "latest");
  EXPECT_EQ(std::get<InDatastore>(*parse_reference("azureml://datastores/workspaceblobstore/paths/a//b/")).path, "a/b");
  EXPECT_EQ(std::get<InDatastore>(
                *parse_reference("azureml://subscriptions/s/resourcegroups/r/workspaces/w/datastores/d/paths/p"))
                .store,
            "d");
  EXPECT_EQ(std::get<OfRun>(*parse_reference("azureml://jobs/j1/outputs/artifacts/paths/model/")).path, "model");
  EXPECT_EQ(std::get<InDatastore>(*parse_reference("azureml://jobs/j1/outputs/model/paths/a.ubj")).path,
            "azureml/j1/model/a.ubj");
  EXPECT_EQ(std::get<OfRun>(*parse_reference("runs:/j1/model")).run, "j1");
  EXPECT_TRUE(parses_as<InRegistry>("azureml://registries/azureml/environments/sklearn/versions/1"));
  EXPECT_EQ(std::get<NamedVersion>(*parse_reference("azureml:/subscriptions/s/workspaces/w/data/credit/versions/2")).name,
            "credit");
  EXPECT_EQ(std::get<OnServer>(*parse_reference("file:///a%20b")).path, "/a b");
  EXPECT_EQ(std::get<Uploaded>(*parse_reference("tree:" + std::string(64, 'a') + "/x/y.csv")).path, "x/y.csv");
  EXPECT_TRUE(parses_as<Url>("https://host/a.csv"));
}

TEST(Reference, WhatLeadsNowhereIsRefusedWithAWayOut) {
  for (const char* text : {"", "azureml:", "azureml:a:", "azureml:@x", "azureml://x", "tree:abc", "wasbs://a@b/c", "./rel",
                           "azureml://datastores/d/paths/../../x", "ftp://a/b"})
    EXPECT_FALSE(parse_reference(text)) << text;
}

TEST(Document, CanonicalTextDoesNotDependOnTheOrderOfKeys) {
  EXPECT_EQ(canonical_json(json::parse(R"({"b":[{"y":1,"x":2}],"a":null})").value()), R"({"a":null,"b":[{"x":2,"y":1}]})");
}

struct AssetsTest : ::testing::Test {
  fs::path folder = fs::temp_directory_path() / ("lathe-assets-test-" + random_hex(4));
  fs::path outside = folder / "outside";
  std::unique_ptr<db::Database> db;
  std::unique_ptr<Assets> assets;

  AssetsTest() {
    fs::create_directories(folder / "data");
    fs::create_directories(outside);
    EXPECT_TRUE(write_file(outside / "train.csv", "1,2\n", 0644));
    db = db::open_sqlite((folder / "data" / "lathe.db").string(), db::migrations()).value();
    assets = Assets::open(*db, folder / "data").value();
  }
  ~AssetsTest() override { fs::remove_all(folder); }

  Result<Asset> create(json::Object document, const http::Principal& who = kAdministrator, bool local = true) {
    return assets->create_data(document, who, local, false);
  }
};

TEST_F(AssetsTest, DataIsRegisteredInPlaceAndResolvedByVersionAndLabel) {
  const auto first = create({{"name", "credit"}, {"path", (outside / "train.csv").string()}, {"tags", {{"year", 2024}}}});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->version, "1");
  EXPECT_EQ(first->type, "uri_file");
  EXPECT_EQ(first->digest, sha256_hex("1,2\n"));
  EXPECT_EQ(first->tags.at("year"), "2024");
  const auto second = create({{"name", "credit"}, {"path", outside.string()}, {"type", "uri_folder"}});
  EXPECT_EQ(second->version, "2");

  const auto one = assets->resolve("azureml:credit:1", "", kMember, false);
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(one->local, outside / "train.csv");
  EXPECT_EQ(one->digest, first->digest);
  EXPECT_TRUE(one->note.empty());
  EXPECT_EQ(assets->resolve("azureml:credit@latest", "uri_folder", kMember, false)->version, "2");
  EXPECT_FALSE(assets->resolve("azureml:credit:1", "uri_folder", kMember, false));
}

TEST_F(AssetsTest, AVersionNeverChangesAndTheSameContentIsTheSameVersion) {
  const json::Object document{{"name", "credit"}, {"version", "7"}, {"path", (outside / "train.csv").string()}};
  ASSERT_TRUE(create(document));
  EXPECT_EQ(create(document)->version, "7");
  ASSERT_TRUE(write_file(outside / "train.csv", "3,4\n", 0644));
  EXPECT_EQ(create(document).error().code, Code::conflict);
  const auto changed = assets->resolve("azureml:credit:7", "", kMember, false);
  EXPECT_NE(changed->note.find("changed on disk"), std::string::npos);
  EXPECT_EQ(changed->digest, sha256_hex("3,4\n"));
  EXPECT_EQ(create({{"name", "credit"}, {"path", (outside / "train.csv").string()}})->version, "8");
}

TEST_F(AssetsTest, OthersThanAdministratorsNameOnlyWhatEverybodyMayRead) {
  const auto secret = outside / "secret.csv";
  ASSERT_TRUE(write_file(secret, "x", 0600));
  EXPECT_EQ(create({{"name", "s"}, {"path", secret.string()}}, kMember).error().code, Code::forbidden);
  EXPECT_EQ(create({{"name", "s"}, {"path", "/no/such/file"}}, kMember).error().code, Code::forbidden);
  EXPECT_EQ(create({{"name", "s"}, {"path", outside.string()}}, kMember).error().code, Code::forbidden);
  EXPECT_TRUE(create({{"name", "t"}, {"path", (outside / "train.csv").string()}}, kMember));
  EXPECT_EQ(create({{"name", "u"}, {"path", (outside / "train.csv").string()}}, kAdministrator, false).error().code,
            Code::forbidden);
  fs::create_symlink(secret, outside / "link.csv");
  EXPECT_EQ(create({{"name", "s"}, {"path", (outside / "link.csv").string()}}, kMember).error().code, Code::forbidden);
}

TEST_F(AssetsTest, NobodyRegistersTheDataFolderItself) {
  for (const auto& path : {folder, folder / "data", folder / "data" / "lathe.db"})
    EXPECT_EQ(create({{"name", "s"}, {"path", path.string()}}).error().code, Code::forbidden) << path;
}

TEST_F(AssetsTest, ALinkPutInTheWayOfRegisteredDataIsNoticed) {
  const auto way = outside / "way";
  fs::create_directories(way);
  ASSERT_TRUE(write_file(way / "a.csv", "a", 0644));
  ASSERT_TRUE(create({{"name", "w"}, {"path", (way / "a.csv").string()}}));
  fs::rename(way, outside / "was");
  fs::create_directory_symlink(outside / "was", way);
  EXPECT_EQ(assets->resolve("azureml:w:1", "", kMember, false).error().code, Code::conflict);
}

TEST_F(AssetsTest, ADatastoresPathsLieInTheDataFolder) {
  EXPECT_EQ(create({{"name", "d"}, {"path", "azureml://datastores/workspaceblobstore/paths/in"}}).error().code,
            Code::not_found);
  const auto in = assets->datastore_path("workspaceblobstore", "in").value();
  fs::create_directories(in);
  ASSERT_TRUE(write_file(in / "a.csv", "a"));
  const auto made = create({{"name", "d"}, {"path", "azureml://datastores/workspaceblobstore/paths/in"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(assets->resolve("azureml:d:1", "", kMember, false)->private_to_server);
  EXPECT_FALSE(assets->datastore_path("elsewhere", "in"));
  EXPECT_FALSE(assets->datastore_path("workspaceblobstore", "../lathe.db"));
}

TEST_F(AssetsTest, UploadedFilesAreKnownByTheirFolder) {
  const auto scan = scan_data(outside, assets->digests(), Reach::everything).value();
  const auto digest = assets->blobs().take_folder(outside, scan.tree).value();
  const auto made = create({{"name", "up"}, {"path", "tree:" + digest + "/train.csv"}}, kMember, false);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->type, "uri_file");
  EXPECT_EQ(made->digest, sha256_hex("1,2\n"));
  EXPECT_EQ(create({{"name", "all"}, {"path", "tree:" + digest}}, kMember, false)->digest, digest);
}

TEST_F(AssetsTest, UnknownFieldsAndNamesAreSaidWithTheNearest) {
  EXPECT_NE(create({{"name", "x"}, {"path", "/"}, {"descripton", "?"}}).error().message.find("\"description\""),
            std::string::npos);
  ASSERT_TRUE(create({{"name", "credit-card"}, {"path", (outside / "train.csv").string()}}));
  const auto missing = assets->resolve("azureml:credit-crad:1", "", kMember, false);
  EXPECT_NE(missing.error().message.find("\"credit-card\""), std::string::npos);
  const auto version = assets->resolve("azureml:credit-card:9", "", kMember, false);
  EXPECT_NE(version.error().message.find("it has 1"), std::string::npos);
}

TEST_F(AssetsTest, ArchivedVersionsAreNotTheLatest) {
  const json::Object document{{"name", "credit"}, {"path", (outside / "train.csv").string()}};
  ASSERT_TRUE(create(document));
  ASSERT_TRUE(create(document));
  ASSERT_TRUE(db->write([](db::Connection& c) { return set_archived(c, Kind::data, "credit", "2", true); }));
  EXPECT_EQ(assets->resolve("azureml:credit", "", kMember, false)->version, "1");
  ASSERT_TRUE(db->write([](db::Connection& c) { return set_archived(c, Kind::data, "credit", std::nullopt, true); }));
  EXPECT_EQ(assets->resolve("azureml:credit", "", kMember, false).error().code, Code::not_found);
  EXPECT_TRUE(db->read([](db::Connection& c) { return list_assets(c, Kind::data, false); })->empty());
}

TEST_F(AssetsTest, AnEnvironmentIsItsDefinitionAndWhatIsNotHonouredIsSaid) {
  assets->explain_environment = [](const json::Object& definition) -> Result<json::Report> {
    EXPECT_TRUE(definition.contains("image"));
    return json::Report{{"image", "substituted", "by another"}};
  };
  const json::Object document{{"name", "sk"}, {"image", "docker.io/library/python:3.11"}};
  const auto made = assets->create_environment(document, kMember, true, false);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->version, "1");
  ASSERT_TRUE(made->report);
  EXPECT_EQ(made->report->front().verdict, "substituted");
  EXPECT_EQ(assets->create_environment(document, kMember, true, false)->version, "1");
  EXPECT_EQ(assets->create_environment(document, kMember, true, true).error().code, Code::invalid);

  const auto use = assets->resolve_environment("azureml:sk@latest", kMember, true).value();
  EXPECT_EQ(use.digest, made->digest);
  EXPECT_EQ(use.definition, json::Value(json::Object{{"image", document.at("image")}}));
  EXPECT_EQ(assets->resolve_environment(json::Object{{"image", document.at("image")}}, kMember, true)->digest, made->digest);
}

TEST_F(AssetsTest, UnknownAndRegistryEnvironmentsAreSubstitutedAndTheDefaultIsNot) {
  EXPECT_EQ(assets->resolve_environment("azureml://registries/azureml/environments/sk/labels/latest", kMember, true)->report.size(), 1U);
  EXPECT_EQ(assets->resolve_environment("azureml:AzureML-sklearn@latest", kMember, true)->report.size(), 1U);
  EXPECT_TRUE(assets->resolve_environment(nullptr, kMember, true)->report.empty());
  EXPECT_TRUE(assets->resolve_environment("azureml:lathe-default@latest", kMember, true)->report.empty());
  EXPECT_FALSE(assets->resolve_environment(json::Object{{"imagee", "x"}}, kMember, true));
}

}  // namespace
}  // namespace lathe::assets
