package ksbench;

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/** One run of one workload; prints one line of figures. Options are name=value arguments, see {@link #opt}. */
public final class Bench {
    static final Map<String, String> OPT = new HashMap<>();
    static final LongAdder COUNT = new LongAdder(), OUT = new LongAdder();
    static final long T0 = ManagementFactory.getRuntimeMXBean().getStartTime();

    static String opt(String k, String d) { return OPT.getOrDefault(k, d); }
    static long num(String k, long d) { return Long.parseLong(opt(k, Long.toString(d))); }

    static double cpu(String pid) {
        try {
            String s = Files.readString(Path.of("/proc/" + pid + "/stat"));
            String[] f = s.substring(s.lastIndexOf(')') + 2).split(" ");
            return (Long.parseLong(f[11]) + Long.parseLong(f[12])) / 100.0;
        } catch (Exception e) { return 0; }
    }
    static long mem(String field) throws Exception {
        for (String l : Files.readAllLines(Path.of("/proc/self/status")))
            if (l.startsWith(field + ":")) return Long.parseLong(l.replaceAll("\\D", "")) / 1024;
        return 0;
    }

    // ---- value layout: see ../by-hand/internal/bench/record.go
    static final int STAMP = 16, AMOUNT = 24, KIND = 28;
    static long stamp(byte[] v) { return ByteBuffer.wrap(v).getLong(STAMP); }
    static int amount(byte[] v) { return ByteBuffer.wrap(v).getInt(AMOUNT); }
    static int kind(byte[] v) { return ByteBuffer.wrap(v).getInt(KIND); }

    static final Serde<String> K = Serdes.String();
    static final Serde<byte[]> V = Serdes.ByteArray();
    static final Serde<Agg> A = Serdes.serdeFrom(
        (t, a) -> a == null ? null : ByteBuffer.allocate(16).putLong(a.count).putLong(a.stamp).array(),
        (t, b) -> { if (b == null) return null; ByteBuffer x = ByteBuffer.wrap(b); return new Agg(x.getLong(), x.getLong()); });
    record Agg(long count, long stamp) { }

    static <K1, T> KStream<K1, T> written(KStream<K1, T> s) { return s.peek((k, v) -> OUT.increment()); }
    static <T> KStream<String, T> counted(KStream<String, T> s) { return s.peek((k, v) -> COUNT.increment()); }

    static StreamsBuilder topology(String w, String in, String out) {
        StreamsBuilder b = new StreamsBuilder();
        Consumed<String, byte[]> c = Consumed.with(K, V);
        switch (w) {
            case "w1" -> written(counted(b.stream(in, c)).filter((k, v) -> kind(v) < 12).mapValues(Bench::doubled)).to(out, Produced.with(K, V));
            case "w2" -> count(counted(b.stream(in, c)).groupByKey(Grouped.with(K, V)), out);
            case "w3" -> // counted behind the repartition topic, where the work ends
                count(counted(b.stream(in, c).selectKey((k, v) -> rekey(v))
                    .repartition(org.apache.kafka.streams.kstream.Repartitioned.with(K, V).withName("rekey").withNumberOfPartitions(4)))
                    .groupByKey(Grouped.with(K, V)), out);
            case "w4" -> written(counted(b.stream(opt("left", "jleft"), c)).join(counted(b.stream(opt("right", "jright"), c)),
                    (l, r) -> ByteBuffer.allocate(32).putLong(ByteBuffer.wrap(l).getLong(8)).putLong(ByteBuffer.wrap(r).getLong(8))
                        .putLong(Math.max(stamp(l), stamp(r))).putLong(amount(l) + amount(r)).array(),
                    JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(5), Duration.ofSeconds(5)), StreamJoined.with(K, V, V)))
                .to(out, Produced.with(K, V));
            case "w5" -> {
                KTable<String, byte[]> users = b.table(opt("users", "users"), c,
                    Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("users-store").withKeySerde(K).withValueSerde(V));
                written(counted(b.stream(in, c)).join(users, (v, u) -> ByteBuffer.allocate(v.length + 16).put(v).put(u, 24, 16).array(), Joined.with(K, V, V)))
                    .to(out, Produced.with(K, V));
            }
            case "kv" -> counted(b.table(in, c, Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("kv-store")
                .withKeySerde(K).withValueSerde(V)).toStream());
            default -> throw new IllegalArgumentException(w);
        }
        return b;
    }
    static void count(KGroupedStream<String, byte[]> g, String out) {
        Materialized<String, Agg, WindowStore<Bytes, byte[]>> m =
            Materialized.<String, Agg, WindowStore<Bytes, byte[]>>as("counts").withKeySerde(K).withValueSerde(A);
        if (opt("cache", "on").equals("off")) m = m.withCachingDisabled();
        written(g.windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(num("grace", 5))))
            .aggregate(() -> new Agg(0, 0), (k, v, a) -> new Agg(a.count + 1, Math.max(a.stamp, stamp(v))), m)
            .toStream()).to(out, Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, 10_000), A));
    }
    static byte[] doubled(byte[] v) { byte[] o = v.clone(); ByteBuffer.wrap(o).putInt(AMOUNT, 2 * amount(v)); return o; }

    public static void main(String[] args) throws Exception {
        for (String a : args) OPT.put(a.substring(0, a.indexOf('=')), a.substring(a.indexOf('=') + 1));
        String w = opt("w", "w1"), in = opt("in", "events"), boot = opt("bootstrap", "127.0.0.1:19092");
        String guarantee = opt("guarantee", "exactly_once_v2");
        String app = opt("app", "ks-" + w + "-" + System.currentTimeMillis()), out = opt("out", app + "-out");
        long expect = num("n", 2_000_000), seconds = num("seconds", 0), linger = num("linger", 20);
        Properties p = new Properties();
        p.put("bootstrap.servers", boot);
        Admin admin = Admin.create(p);
        if (!w.equals("kv") && !admin.listTopics().names().get().contains(out)) admin.createTopics(List.of(new NewTopic(out, 4, (short) 1))).all().get();
        p.put("application.id", app);
        p.put("num.stream.threads", opt("threads", "2"));
        p.put("processing.guarantee", guarantee);
        p.put("commit.interval.ms", opt("commit", "100"));
        p.put("statestore.cache.max.bytes", opt("cachebytes", Long.toString(64L << 20)));
        p.put("state.dir", opt("state", System.getProperty("java.io.tmpdir") + "/ks-bench-state"));
        p.put("topology.optimization", opt("optimize", "none"));
        if (!opt("protocol", "classic").equals("classic")) p.put("group.protocol", opt("protocol", ""));
        p.put("consumer.auto.offset.reset", opt("reset", "earliest"));
        p.put("consumer.max.poll.records", opt("poll", "2000"));
        p.put("buffered.records.per.partition", "2000");
        p.put("producer.compression.type", "lz4");
        p.put("producer.batch.size", Integer.toString(128 << 10));
        p.put("producer.linger.ms", Long.toString(linger));
        p.put("producer.buffer.memory", Long.toString(64L << 20));
        for (var e : OPT.entrySet()) if (e.getKey().startsWith("set.")) p.put(e.getKey().substring(4), e.getValue());

        Properties bp = new Properties();
        bp.putAll(p);
        KafkaStreams ks = new KafkaStreams(topology(w, in, out).build(bp), p);
        AtomicLong running = new AtomicLong(), restored = new AtomicLong(), restoreStart = new AtomicLong(), restoreEnd = new AtomicLong();
        CountDownLatch dead = new CountDownLatch(1);
        ks.setStateListener((n, o) -> {
            if (n == KafkaStreams.State.RUNNING) running.compareAndSet(0, System.currentTimeMillis());
            if (n == KafkaStreams.State.ERROR) dead.countDown();
        });
        ks.setGlobalStateRestoreListener(new StateRestoreListener() {
            public void onRestoreStart(TopicPartition tp, String s, long a, long b) { restoreStart.compareAndSet(0, System.currentTimeMillis()); }
            public void onBatchRestored(TopicPartition tp, String s, long o, long n) { }
            public void onRestoreEnd(TopicPartition tp, String s, long n) { restored.addAndGet(n); restoreEnd.set(System.currentTimeMillis()); }
        });
        String bpid = opt("brokerpid", "0");
        long begin = System.currentTimeMillis();
        ks.start();
        long tFirst = 0, t30 = 0, t95 = 0, c30 = 0, c95 = 0; double cpuFirst = 0, cpu30 = 0, cpu95 = 0, bcpu30 = 0, bcpu95 = 0, cpuRun = 0;
        double bcpu0 = cpu(bpid);
        long until = seconds > 0 ? begin + seconds * 1000 : Long.MAX_VALUE;
        while (true) {
            if (dead.await(5, TimeUnit.MILLISECONDS)) { System.out.println("RESULT w=" + w + " ERROR"); System.exit(1); }
            long c = COUNT.sum(), now = System.currentTimeMillis();
            if (running.get() != 0 && cpuRun == 0) {
                cpuRun = cpu("self");
                if (opt("until", "").equals("running") && c >= 0) { System.out.printf("RUNNING after start()=%dms process=%dms restored=%d restore=%dms rss=%dMiB cpu=%.2fs%n",
                    running.get() - begin, running.get() - T0, restored.get(), restoreEnd.get() - restoreStart.get(), mem("VmRSS"), cpuRun); break; }
            }
            if (c > 0 && tFirst == 0) { tFirst = now; cpuFirst = cpu("self"); }
            if (c >= expect * 0.3 && t30 == 0) { t30 = now; c30 = c; cpu30 = cpu("self"); bcpu30 = cpu(bpid); }
            if (c >= expect * 0.95 && t95 == 0) { t95 = now; c95 = c; cpu95 = cpu("self"); bcpu95 = cpu(bpid); }
            if ((seconds == 0 && c >= expect) || now >= until) break;
        }
        if (opt("hang", "no").equals("yes")) { System.out.println("PROCESSED " + COUNT.sum()); Thread.sleep(Long.MAX_VALUE); }
        long rssRun = mem("VmRSS");
        double cpuBeforeClose = cpu("self");
        ks.close(Duration.ofSeconds(60));
        long end = System.currentTimeMillis();
        double cpuAll = cpu("self"), bcpu = cpu(bpid);
        long outN = 0;
        if (!w.equals("kv")) {
            Map<TopicPartition, OffsetSpec> q = new HashMap<>();
            for (int i = 0; i < 4; i++) q.put(new TopicPartition(out, i), OffsetSpec.latest());
            for (var e : admin.listOffsets(q).all().get().values()) outN += e.offset();
        }
        long n = COUNT.sum();
        System.out.printf(Locale.ROOT, "RESULT w=%s g=%s commit=%s cache=%s threads=%s n=%d outOffsets=%d first_ms=%d run_s=%.2f rate=%.0f steady_rate=%.0f "
                + "cpu_at_running_s=%.2f cpu_total_s=%.2f cpu_us_rec_total=%.2f cpu_us_rec_steady=%.2f broker_us_rec_steady=%.2f hwm_mib=%d rss_mib=%d restored=%d restore_ms=%d load=%s%n",
            w, guarantee, opt("commit", "100"), opt("cache", "on"), opt("threads", "2"), n, outN, tFirst - T0, (end - running.get()) / 1e3, n / ((end - running.get()) / 1e3),
            (c95 - c30) / ((t95 - t30) / 1e3), cpuRun, cpuAll, cpuAll * 1e6 / n, (cpu95 - cpu30) * 1e6 / (c95 - c30), (bcpu95 - bcpu30) * 1e6 / (c95 - c30),
            mem("VmHWM"), rssRun, restored.get(), restoreEnd.get() - restoreStart.get(), Files.readString(Path.of("/proc/loadavg")).split(" ")[0]);
        if (opt("json", "no").equals("yes"))
            System.out.printf(Locale.ROOT, "{\"engine\":\"kafka-streams\",\"records\":%d,\"outputs\":%d,\"records_per_s\":%.0f,\"cpu_us_per_record\":%.3f,"
                    + "\"cpu_us_per_record_steady\":%.3f,\"peak_rss_mib\":%d,\"first_ms\":%d,\"first_cpu_s\":%.2f,\"restored\":%d}%n",
                n, OUT.sum(), n / ((end - running.get()) / 1e3), cpuAll * 1e6 / n,
                c95 > c30 ? (cpu95 - cpu30) * 1e6 / (c95 - c30) : 0, mem("VmHWM"), tFirst - T0, cpuFirst, restored.get());
        if (!opt("keep", "no").equals("yes")) {
            ks.cleanUp();
            List<String> mine = admin.listTopics().names().get().stream().filter(t -> t.startsWith(app + "-")).toList();
            admin.deleteTopics(mine).all().get();
        }
        admin.close();
    }

    static final String[] REKEY = new String[10_000];
    static { for (int i = 0; i < REKEY.length; i++) REKEY[i] = String.format("amt-%04d", i); }
    static String rekey(byte[] v) { return REKEY[amount(v)]; }

    private Bench() { }
}
