"""Worker processes neither repeat nor hold up what their parent logs."""


def by_key(recorder):
    found = {}
    for key, value, step in recorder.metrics():
        found.setdefault(key, []).append(step)
    return found


def test_a_forked_worker_logs_for_itself_and_repeats_nothing(script, recorder):
    script.run("""
import multiprocessing
def work(n):
    for i in range(100): lathe.log_metric(f"worker{n}", i, step=i)
for i in range(100): lathe.log_metric("parent", i, step=i)
workers = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(3)]
for worker in workers: worker.start()
for worker in workers:
    worker.join()
    assert worker.exitcode == 0
for i in range(100, 200): lathe.log_metric("parent", i, step=i)
""")
    assert by_key(recorder) == {"parent": list(range(200)), **{f"worker{n}": list(range(100)) for n in range(3)}}


def test_spawned_workers_log_too(script, recorder, tmp_path):
    (tmp_path / "work.py").write_text("import lathe\ndef work(n):\n    lathe.log_metric(f'worker{n}', 1, step=n)\n")
    script.run("""
import multiprocessing, work
with multiprocessing.get_context("spawn").Pool(2) as pool:
    pool.map(work.work, range(4))
    pool.close()
    pool.join()
""")
    assert by_key(recorder) == {f"worker{n}": [n] for n in range(4)}


def test_forks_in_the_middle_of_a_storm_of_points_neither_hang_nor_repeat(script, recorder):
    done = script.run("""
import os, threading
done = threading.Event()
count = 0
def storm():
    global count
    while not done.is_set():
        lathe.log_metric("storm", count, step=count)
        count += 1
thread = threading.Thread(target=storm)
thread.start()
for n in range(30):
    pid = os.fork()
    if pid == 0:
        try:
            lathe.log_metric("child", n, step=n)
            assert lathe.flush(20)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
done.set()
thread.join()
lathe.log_metric("storm", count, step=count)
""")
    assert done.err == ""
    found = by_key(recorder)
    assert sorted(found["child"]) == list(range(30))
    assert found["storm"] == list(range(len(found["storm"])))


def test_workers_that_are_terminated_die_at_once(script, recorder):
    script.run("""
import multiprocessing, time
lathe.log_metric("a", 1)
for attempt in range(30):
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == -15, worker.exitcode
""")
    assert len(recorder.metrics()) == 1
