#include "traces/traces.h"

#include "tracking/test_store.h"

namespace lathe::traces {
namespace {

struct Traces : tracking::StoreTest {
  http::Principal ann = {1, "ann", http::Role::member, {}};

  static Span span(const std::string& id, const std::string& parent = "", const std::string& trace_id = "tr-1") {
    Span out;
    out.trace_id = trace_id;
    out.id = id;
    out.parent_id = parent;
    out.name = "span " + id;
    out.status = "OK";
    out.start_ns = 2'000'000'000;
    out.end_ns = 3'000'000'000;
    out.content = "{\"name\":\"" + id + "\"}";
    return out;
  }
  static Trace described(const std::string& id = "tr-1") {
    Trace out;
    out.id = id;
    out.request_ms = 1000;
    out.duration_ms = 500;
    out.state = "OK";
    return out;
  }
  Result<void> log(const std::vector<Span>& spans, std::int64_t experiment = 0) {
    return db->write([&](db::Connection& c) { return log_spans(c, ann, experiment, spans); });
  }
  Result<Trace> start(const Trace& trace) {
    return db->write([&](db::Connection& c) { return start_trace(c, ann, trace, now()); });
  }
  Trace load(const std::string& id = "tr-1") {
    return db->read([&](db::Connection& c) { return load_trace(c, id); }).value();
  }
  std::vector<std::string> search(TraceSearch asked) {
    asked.experiments = {0};
    const auto page = db->read([&](db::Connection& c) { return search_traces(c, asked); });
    EXPECT_TRUE(page) << page.error().message;
    std::vector<std::string> out;
    for (const auto& trace : page->items) out.push_back(trace.id);
    return out;
  }
  std::int64_t count(const std::string& table) {
    return db
        ->read([&](db::Connection& c) {
          return db::first(c, "SELECT COUNT(*) FROM " + table, [](const db::Row& row) { return row.integer(0); });
        })
        .value()
        .value();
  }
};
using Ids = std::vector<std::string>;

TEST_F(Traces, ATraceGrowsWithItsSpans) {
  auto child = span("b", "a");
  child.start_ns = 2'500'000'000;
  ASSERT_TRUE(log({child}));
  EXPECT_EQ(load().state, "IN_PROGRESS");
  EXPECT_EQ(load().request_ms, 2500);
  auto root = span("a");
  root.request_preview = "\"in\"";
  root.session = "s";
  ASSERT_TRUE(log({root}));
  const auto trace = load();
  EXPECT_EQ(trace.state, "OK");
  EXPECT_EQ(trace.request_ms, 2000);
  EXPECT_EQ(trace.duration_ms, 1000);
  EXPECT_EQ(trace.request_preview, "\"in\"");
  EXPECT_EQ(*trace.tag("mlflow.traceName"), "span a");
  EXPECT_EQ(*trace.tag(kSpansLocation), "TRACKING_STORE");
  EXPECT_EQ(*trace.tag(kArtifactLocation), "mlflow-artifacts:/0/traces/tr-1/artifacts");
  EXPECT_EQ(*trace.metadatum("mlflow.trace.session"), "s");
  const auto contents = db->read([&](db::Connection& c) { return span_contents(c, trace); }).value();
  EXPECT_EQ(contents, (Ids{R"({"name":"a"})", R"({"name":"b"})"})) << "the root first";
}

TEST_F(Traces, ASpanThatComesAgainIsReplaced) {
  auto again = span("a");
  again.content = "{}";
  ASSERT_TRUE(log({span("a"), again}));
  ASSERT_TRUE(log({again}));
  EXPECT_EQ(count("trace_span"), 1);
  EXPECT_EQ(db->read([&](db::Connection& c) { return span_contents(c, load()); }).value(), (Ids{"{}"}));
}

TEST_F(Traces, WhatTheClientSaysOfTheWholeCompletesATraceInEitherOrder) {
  auto whole = described();
  whole.tags = {{"t", "1"}, {std::string(kArtifactLocation), "file:///etc"}, {std::string(kSpansLocation), "mine"}};
  whole.metadata = {{"m", "2"}};
  ASSERT_TRUE(log({span("a")}));
  ASSERT_TRUE(start(whole));
  EXPECT_EQ(load().request_ms, 1000);
  EXPECT_EQ(*load().tag("t"), "1");
  EXPECT_EQ(*load().tag(kSpansLocation), "TRACKING_STORE");
  EXPECT_EQ(*load().tag(kArtifactLocation), "mlflow-artifacts:/0/traces/tr-1/artifacts");
  whole.id = "tr-2";
  ASSERT_TRUE(start(whole));
  EXPECT_EQ(load("tr-2").tag(kSpansLocation), nullptr) << "its client then uploads the spans";
  ASSERT_TRUE(log({span("a", "", "tr-2")}));
  EXPECT_EQ(*load("tr-2").tag(kSpansLocation), "TRACKING_STORE");
  EXPECT_EQ(*load("tr-2").metadatum("m"), "2");
}

TEST_F(Traces, TokensOfAParentHoldItsChildrens) {
  const auto counting = [](Span span, const std::string& usage) {
    span.usage = usage;
    return span;
  };
  const std::string five = R"({"input_tokens":2,"output_tokens":3,"total_tokens":5})";
  ASSERT_TRUE(log({span("root"), counting(span("chain", "root"), five), counting(span("llm", "chain"), five),
                   counting(span("other", "root"), five)}));
  EXPECT_EQ(*load().metadatum("mlflow.trace.tokenUsage"), R"({"input_tokens":4,"output_tokens":6,"total_tokens":10})");
  ASSERT_TRUE(log({counting(span("x", "y", "tr-2"), five), counting(span("y", "x", "tr-2"), "garbage")}));
  EXPECT_TRUE(load("tr-2").metadatum("mlflow.trace.tokenUsage")) << "parents in a ring end too";
}

TEST_F(Traces, ATraceStaysInItsExperiment) {
  const auto other = db->write([&](db::Connection& c) {
                         return tracking::create_experiment(c, "other", "", {}, "ann", now());
                       }).value();
  ASSERT_TRUE(log({span("a")}));
  EXPECT_EQ(log({span("b")}, other).error().code, Code::invalid);
  EXPECT_EQ(log({span("a", "", "tr-9"), span("b")}, other).error().code, Code::invalid);
  EXPECT_EQ(count("trace"), 1) << "all or none";
  EXPECT_EQ(log({span("a")}, 99).error().code, Code::not_found);
}

TEST_F(Traces, ADeletedExperimentTakesNoTraces) {
  const auto id = db->write([&](db::Connection& c) {
                      return tracking::create_experiment(c, "gone", "", {}, "ann", now());
                    }).value();
  ASSERT_TRUE(db->write([&](db::Connection& c) { return tracking::delete_experiment(c, id, now()); }));
  EXPECT_EQ(log({span("a")}, id).error().code, Code::invalid);
}

TEST_F(Traces, AJobWritesTracesOfItsOwnExperiment) {
  const auto other = db->write([&](db::Connection& c) {
                         return tracking::create_experiment(c, "other", "", {}, "ann", now());
                       }).value();
  make_run({.run_id = "job1", .job = true});
  const auto foreign = make_run();
  ann.run = "job1";
  EXPECT_TRUE(log({span("a")}));
  EXPECT_EQ(log({span("a", "", "tr-2")}, other).error().code, Code::forbidden);
  auto whole = described();
  whole.metadata = {{std::string(kSourceRun), foreign.run_id}};
  EXPECT_EQ(start(whole).error().code, Code::forbidden) << "in the name of another run";
  whole.metadata = {{std::string(kSourceRun), "job1"}};
  EXPECT_TRUE(start(whole));
}

TEST_F(Traces, TagsComeAndGoButTheServersOwnStay) {
  ASSERT_TRUE(log({span("a")}));
  const auto trace = load();
  const auto set = [&](const tracking::Tag& tag) {
    return db->write([&](db::Connection& c) { return set_trace_tag(c, trace, tag); });
  };
  const auto remove = [&](const std::string& key) {
    return db->write([&](db::Connection& c) { return delete_trace_tag(c, trace, key); });
  };
  EXPECT_TRUE(set({"k", std::string(9000, 'x')}));
  EXPECT_EQ(load().tag("k")->size(), 8000u);
  EXPECT_TRUE(remove("k"));
  EXPECT_EQ(remove("k").error().code, Code::not_found);
  EXPECT_EQ(set({std::string(kArtifactLocation), "x"}).error().code, Code::invalid);
  EXPECT_EQ(remove(std::string(kSpansLocation)).error().code, Code::invalid);
}

TEST_F(Traces, AnAssessmentStandsInForAnother) {
  ASSERT_TRUE(log({span("a")}));
  const auto trace = load();
  const auto make = [&](const std::string& overrides) {
    Assessment a;
    a.name = "good";
    a.kind = "feedback";
    a.value = {{"value", true}};
    a.overrides = overrides;
    return db->write([&](db::Connection& c) { return create_assessment(c, trace, a, "ann", now()); });
  };
  const auto first = make("").value();
  const auto second = make(first.id).value();
  EXPECT_EQ(make("a-none").error().code, Code::not_found);
  const auto valid = [&](const std::string& id) {
    return db->read([&](db::Connection& c) { return find_assessment(c, trace, id); })->valid;
  };
  EXPECT_FALSE(valid(first.id));
  EXPECT_TRUE(valid(second.id));
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_assessment(c, trace, second); }));
  EXPECT_TRUE(valid(first.id));
}

TEST_F(Traces, SearchFindsByWhatATraceIsAndHolds) {
  auto slow = described("tr-slow");
  slow.request_ms = 5000;
  slow.duration_ms = 9000;
  slow.state = "ERROR";
  slow.tags = {{"env", "prod"}};
  ASSERT_TRUE(start(slow));
  auto plain = described("tr-plain");
  plain.metadata = {{"m.k", "v"}};
  ASSERT_TRUE(start(plain));
  auto told = span("a", "", "tr-plain");
  told.content = R"({"text":"Paris"})";
  ASSERT_TRUE(log({told}));
  EXPECT_EQ(search({}), (Ids{"tr-slow", "tr-plain"})) << "the newest first";
  EXPECT_EQ(search({.order_by = {"timestamp ASC"}}), (Ids{"tr-plain", "tr-slow"}));
  EXPECT_EQ(search({.filter = "status = 'ERROR'"}), (Ids{"tr-slow"}));
  EXPECT_EQ(search({.filter = "trace.status IN ('OK') AND timestamp_ms < 5000"}), (Ids{"tr-plain"}));
  EXPECT_EQ(search({.filter = "execution_time > 500 AND end_time = 14000"}), (Ids{"tr-slow"}));
  EXPECT_EQ(search({.filter = "tags.env = 'prod'"}), (Ids{"tr-slow"}));
  EXPECT_EQ(search({.filter = "tags.env IS NULL"}), (Ids{"tr-plain"}));
  EXPECT_EQ(search({.filter = "metadata.`m.k` LIKE 'v%'"}), (Ids{"tr-plain"}));
  EXPECT_EQ(search({.filter = "name = 'span a'"}), (Ids{"tr-plain"}));
  EXPECT_EQ(search({.filter = "span.name = 'span a' AND trace.text ILIKE '%paris%'"}), (Ids{"tr-plain"}));
  EXPECT_EQ(search({.filter = "span.attributes.text LIKE '%Par%'"}), (Ids{"tr-plain"}));
  EXPECT_EQ(search({.filter = "span.attributes.other LIKE '%Par%'"}), Ids{});
  EXPECT_EQ(search({.order_by = {"name"}}), (Ids{"tr-plain", "tr-slow"})) << "those without come last";
  EXPECT_EQ(search({.order_by = {"name DESC"}}), (Ids{"tr-plain", "tr-slow"}));
}

TEST_F(Traces, SearchFindsByWhatIsSaidOfThem) {
  const auto say = [&](const std::string& id, const json::Value& value) {
    auto whole = described(id);
    whole.assessments.push_back({.name = "score", .kind = "feedback", .value = {{"value", value}}});
    ASSERT_TRUE(start(whole));
  };
  say("tr-1", 0.9);
  say("tr-2", "fine");
  say("tr-3", true);
  EXPECT_EQ(search({.filter = "feedback.score > 0.5"}), (Ids{"tr-1"}));
  EXPECT_EQ(search({.filter = "feedback.score = 'fine'"}), (Ids{"tr-2"}));
  EXPECT_EQ(search({.filter = "feedback.score = 'true'"}), (Ids{"tr-3"}));
  EXPECT_EQ(search({.filter = "expectation.score IS NOT NULL"}), Ids{});
  EXPECT_EQ(search({.filter = "feedback.score IS NOT NULL"}), (Ids{"tr-1", "tr-2", "tr-3"}));
}

TEST_F(Traces, SearchFindsTheTracesOfARun) {
  const auto run = make_run();
  auto made = described("tr-made");
  made.metadata = {{std::string(kSourceRun), run.run_id}};
  ASSERT_TRUE(start(made));
  ASSERT_TRUE(start(described("tr-linked")));
  ASSERT_TRUE(start(described("tr-other")));
  const auto link = [&](const Ids& ids) {
    return db->write([&](db::Connection& c) { return link_to_run(c, ids, run); });
  };
  EXPECT_TRUE(link({"tr-linked"}));
  EXPECT_TRUE(link({"tr-linked"})) << "twice is once";
  EXPECT_EQ(link({"no/trace"}).error().code, Code::invalid);
  EXPECT_EQ(link(Ids(101, "tr-made")).error().code, Code::invalid);
  EXPECT_EQ(search({.filter = "run_id = '" + run.run_id + "'"}), (Ids{"tr-linked", "tr-made"}));
}

TEST_F(Traces, ALinkMayComeBeforeItsTrace) {
  const auto run = make_run();
  const auto link = [&] { return db->write([&](db::Connection& c) { return link_to_run(c, {"tr-late"}, run); }); };
  ASSERT_TRUE(link());
  ASSERT_TRUE(link()) << "twice is once";
  EXPECT_EQ(count("trace_run_ahead"), 1);
  auto late = described("tr-late");
  ASSERT_TRUE(start(late));
  EXPECT_EQ(search({.filter = "run_id = '" + run.run_id + "'"}), Ids{"tr-late"});
  EXPECT_EQ(count("trace_run_ahead"), 0) << "it became a link";
}

TEST_F(Traces, SearchGoesPageByPage) {
  for (int i = 0; i < 5; ++i) {
    auto one = described("tr-" + std::to_string(i));
    one.request_ms = 1000 - i;
    ASSERT_TRUE(start(one));
  }
  Ids all;
  TraceSearch asked{.experiments = {0}, .limit = 2};
  do {
    const auto page = db->read([&](db::Connection& c) { return search_traces(c, asked); }).value();
    for (const auto& trace : page.items) all.push_back(trace.id);
    asked.page_token = page.next;
  } while (!asked.page_token.empty());
  EXPECT_EQ(all, (Ids{"tr-0", "tr-1", "tr-2", "tr-3", "tr-4"}));
}

TEST_F(Traces, SearchRefusesWhatItCannotAnswer) {
  for (const char* filter :
       {"tags.a RLIKE '(a+)+$'", "nothing = 'x'", "params.a = 'x'", "status > 'x'", "timestamp = 'x'", "span.id = 'x'",
        "span.content = 'x'", "feedback.a > 'x'", "name = 5"}) {
    const auto page =
        db->read([&](db::Connection& c) { return search_traces(c, {.experiments = {0}, .filter = filter}); });
    ASSERT_FALSE(page) << filter;
    EXPECT_EQ(page.error().code, Code::invalid) << filter;
  }
  for (const Ids& order : {Ids{"nothing"}, Ids{"timestamp", "timestamp_ms DESC"}, Ids{"span.name"}}) {
    const auto page =
        db->read([&](db::Connection& c) { return search_traces(c, {.experiments = {0}, .order_by = order}); });
    EXPECT_FALSE(page) << order[0];
  }
}

TEST_F(Traces, DeletingTakesTheOldestFirstAndAllThatHangsOnThem) {
  const auto run = make_run();
  for (int i = 0; i < 3; ++i) {
    const auto id = "tr-" + std::to_string(i);
    ASSERT_TRUE(log({span("a", "", id)}));
    auto whole = described(id);
    whole.request_ms = 1000 + i;
    whole.assessments.push_back({.name = "score", .kind = "feedback", .value = {{"value", 1}}});
    ASSERT_TRUE(start(whole));
    ASSERT_TRUE(db->write([&](db::Connection& c) { return link_to_run(c, {id}, run); }));
  }
  const auto oldest = [&](std::int64_t max_ms, std::size_t most) {
    return db->read([&](db::Connection& c) { return oldest_in(c, 0, max_ms, most); }).value();
  };
  EXPECT_EQ(oldest(1001, 10), (Ids{"tr-0", "tr-1"}));
  EXPECT_EQ(oldest(2000, 1), (Ids{"tr-0"}));
  EXPECT_EQ(db->read([&](db::Connection& c) { return those_in(c, 1, {"tr-2"}); }).value(), Ids{})
      << "another experiment's";
  ASSERT_TRUE(db->write([&](db::Connection& c) { return delete_traces(c, {"tr-0", "tr-1"}); }));
  for (const auto* table : {"trace", "trace_span", "trace_assessment", "trace_run"})
    EXPECT_EQ(count(table), 1) << table;
  EXPECT_EQ(search({}), (Ids{"tr-2"}));
}

TEST_F(Traces, TracesGoWithTheirExperiment) {
  const auto id = db->write([&](db::Connection& c) {
                      return tracking::create_experiment(c, "gone", "", {}, "ann", now());
                    }).value();
  ASSERT_TRUE(log({span("a")}, id));
  ASSERT_TRUE(db->write([&](db::Connection& c) -> Result<void> {
    LATHE_CHECK(db::run(c, "DELETE FROM experiment WHERE id = $1", id));
    return {};
  }));
  for (const auto* table : {"trace", "trace_span", "trace_tag", "trace_metadata"}) EXPECT_EQ(count(table), 0) << table;
}

}  // namespace
}  // namespace lathe::traces
