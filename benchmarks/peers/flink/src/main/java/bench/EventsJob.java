package bench;

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.triggers.CountTrigger;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * W1 and W2 (every update) of ../../README.md on the topics that the other engines read, in a cold JVM; one line of
 * figures. Options are name=value: w, in, out, bootstrap, guarantee=exactly-once|at-least-once, n (0 = until it is ended),
 * checkpoints (folder), linger (ms).
 */
public final class EventsJob {
    static final int STAMP = 16, AMOUNT = 24, KIND = 28; // see ../by-hand/internal/bench/record.go
    static final AtomicLong SEEN = new AtomicLong(), OUT = new AtomicLong();
    static long n, cpu30, cpu95, first;

    /** Key, value, event time. */
    static final TypeInformation<Tuple3<byte[], byte[], Long>> RECORD = Types.TUPLE(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO,
        PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO, Types.LONG);

    static final class Read implements KafkaRecordDeserializationSchema<Tuple3<byte[], byte[], Long>> {
        @Override public void deserialize(ConsumerRecord<byte[], byte[]> r, Collector<Tuple3<byte[], byte[], Long>> c) {
            c.collect(Tuple3.of(r.key(), r.value(), r.timestamp()));
        }
        @Override public TypeInformation<Tuple3<byte[], byte[], Long>> getProducedType() { return RECORD; }
    }

    static final class Write implements KafkaRecordSerializationSchema<Tuple3<byte[], byte[], Long>> {
        final String topic;
        Write(String topic) { this.topic = topic; }
        @Override public ProducerRecord<byte[], byte[]> serialize(Tuple3<byte[], byte[], Long> v, KafkaSinkContext c, Long ts) {
            return new ProducerRecord<>(topic, null, v.f2, v.f0, v.f1);
        }
    }

    /** Records, and the newest send time. */
    static final class Count implements AggregateFunction<Tuple2<String, Long>, Tuple2<Long, Long>, Tuple2<Long, Long>> {
        @Override public Tuple2<Long, Long> createAccumulator() { return Tuple2.of(0L, 0L); }
        @Override public Tuple2<Long, Long> add(Tuple2<String, Long> v, Tuple2<Long, Long> a) { return Tuple2.of(a.f0 + 1, Math.max(a.f1, v.f1)); }
        @Override public Tuple2<Long, Long> getResult(Tuple2<Long, Long> a) { return a; }
        @Override public Tuple2<Long, Long> merge(Tuple2<Long, Long> a, Tuple2<Long, Long> b) { return Tuple2.of(a.f0 + b.f0, Math.max(a.f1, b.f1)); }
    }

    /** The output's key is the key and the window's start. */
    static final class Result extends ProcessWindowFunction<Tuple2<Long, Long>, Tuple3<byte[], byte[], Long>, String, TimeWindow> {
        @Override public void process(String key, Context c, Iterable<Tuple2<Long, Long>> it, Collector<Tuple3<byte[], byte[], Long>> out) {
            Tuple2<Long, Long> a = it.iterator().next();
            byte[] k = key.getBytes(StandardCharsets.US_ASCII);
            OUT.incrementAndGet();
            out.collect(Tuple3.of(ByteBuffer.allocate(k.length + 8).put(k).putLong(c.window().getStart()).array(),
                ByteBuffer.allocate(16).putLong(a.f0).putLong(a.f1).array(), c.window().getStart()));
        }
    }

    static void seen() {
        long c = SEEN.incrementAndGet();
        if (c == 1) first = System.currentTimeMillis();
        if (n > 0 && c == n * 3 / 10) cpu30 = Stats.cpuNs();
        if (n > 0 && c == n * 95 / 100) cpu95 = Stats.cpuNs();
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> o = new HashMap<>();
        for (String a : args) o.put(a.substring(0, a.indexOf('=')), a.substring(a.indexOf('=') + 1));
        String w = o.getOrDefault("w", "w1"), boot = o.getOrDefault("bootstrap", "127.0.0.1:19092"), out = o.get("out");
        boolean once = o.getOrDefault("guarantee", "exactly-once").equals("exactly-once");
        n = Long.parseLong(o.getOrDefault("n", "0"));
        StreamExecutionEnvironment env = Main.env("rocksdb", 2, Path.of(o.get("checkpoints")), null);
        var source = KafkaSource.<Tuple3<byte[], byte[], Long>>builder().setBootstrapServers(boot).setTopics(o.getOrDefault("in", "events")).setGroupId("flink-" + out)
            .setStartingOffsets(OffsetsInitializer.earliest()).setDeserializer(new Read())
            .setProperty("fetch.min.bytes", "1").setProperty("max.poll.records", "2000").setProperty("receive.buffer.bytes", "1048576");
        if (n > 0) source.setBounded(OffsetsInitializer.latest());
        Properties p = new Properties();
        p.setProperty("linger.ms", o.getOrDefault("linger", "20"));
        p.setProperty("batch.size", "131072");
        p.setProperty("compression.type", "lz4");
        p.setProperty("transaction.timeout.ms", "60000");
        KafkaSink<Tuple3<byte[], byte[], Long>> sink = KafkaSink.<Tuple3<byte[], byte[], Long>>builder().setBootstrapServers(boot).setKafkaProducerConfig(p)
            .setRecordSerializer(new Write(out)).setDeliveryGuarantee(once ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE)
            .setTransactionalIdPrefix("tx-" + out).build();
        switch (w) {
            case "w1" -> env.fromSource(source.build(), WatermarkStrategy.noWatermarks(), "in").returns(RECORD)
                .filter(r -> { seen(); return ByteBuffer.wrap(r.f1).getInt(KIND) < 12; })
                .map(r -> {
                    byte[] v = r.f1.clone();
                    ByteBuffer.wrap(v).putInt(AMOUNT, 2 * ByteBuffer.wrap(v).getInt(AMOUNT));
                    OUT.incrementAndGet();
                    return Tuple3.of(r.f0, v, r.f2);
                }).returns(RECORD)
                .sinkTo(sink);
            case "w2" -> {
                WatermarkStrategy<Tuple3<byte[], byte[], Long>> ws = WatermarkStrategy.<Tuple3<byte[], byte[], Long>>forBoundedOutOfOrderness(Duration.ofSeconds(5))
                    .withTimestampAssigner((r, t) -> r.f2);
                DataStream<Tuple3<byte[], byte[], Long>> in = env.fromSource(source.build(), ws, "in").returns(RECORD);
                in.map(r -> { seen(); return Tuple2.of(new String(r.f0, StandardCharsets.US_ASCII), ByteBuffer.wrap(r.f1).getLong(STAMP)); })
                    .returns(new TypeHint<Tuple2<String, Long>>() { })
                    .keyBy(r -> r.f0).window(TumblingEventTimeWindows.of(Duration.ofSeconds(10))).trigger(CountTrigger.of(1))
                    .aggregate(new Count(), new Result(), Types.TUPLE(Types.LONG, Types.LONG), Types.TUPLE(Types.LONG, Types.LONG), RECORD)
                    .sinkTo(sink);
            }
            default -> throw new IllegalArgumentException("w=" + w + ": w1 or w2");
        }
        long start = ManagementFactory.getRuntimeMXBean().getStartTime();
        env.execute(w);
        long records = SEEN.get(), cpu = Stats.cpuNs();
        System.out.printf(Locale.ROOT, "{\"engine\":\"flink\",\"records\":%d,\"outputs\":%d,\"records_per_s\":%.0f,\"cpu_us_per_record\":%.3f,\"cpu_us_per_record_steady\":%.3f,"
                + "\"peak_rss_mib\":%d,\"first_ms\":%d}%n",
            records, OUT.get(), records * 1e3 / (System.currentTimeMillis() - first), cpu / 1e3 / records, (cpu95 - cpu30) / 1e3 / (n * 95 / 100 - n * 3 / 10),
            Stats.status("VmHWM") / 1024, first - start);
        System.exit(0);
    }

    private EventsJob() { }
}
