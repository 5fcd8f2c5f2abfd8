import java.net.URI;
import java.time.Duration;
import java.util.Scanner;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** A worker of the Kinesis Client Library that prints what happens, one line each, until its input ends. */
public final class Worker {
    static synchronized void say(Object... words) {
        StringBuilder line = new StringBuilder();
        for (Object w : words) line.append(line.length() > 0 ? " " : "").append(w);
        System.out.println(line);
        System.out.flush();
    }

    static final class Processor implements ShardRecordProcessor {
        private String shard;

        public void initialize(InitializationInput in) {
            shard = in.shardId();
            say("taken", shard, in.extendedSequenceNumber().sequenceNumber(), in.extendedSequenceNumber().subSequenceNumber());
        }

        public void processRecords(ProcessRecordsInput in) {
            in.records().forEach(r -> say("record", shard, r.partitionKey(), r.sequenceNumber()));
            if (!in.records().isEmpty()) checkpoint(in.checkpointer());
        }

        public void leaseLost(LeaseLostInput in) { say("lost", shard); }

        public void shardEnded(ShardEndedInput in) {
            checkpoint(in.checkpointer());
            say("ended", shard);
        }

        public void shutdownRequested(ShutdownRequestedInput in) {
            checkpoint(in.checkpointer());
            say("asked", shard);
        }

        private void checkpoint(RecordProcessorCheckpointer c) {
            try {
                c.checkpoint();
            } catch (Exception e) {
                say("error", shard, e);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        String stream = args[0], app = args[1], id = args[2];
        URI kinesisAt = URI.create(args[3]), dynamoAt = URI.create(args[4]);
        var who = StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any"));
        var kinesis = KinesisAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(who).endpointOverride(kinesisAt)
            .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP1_1)).build();
        var dynamo = DynamoDbAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(who).endpointOverride(dynamoAt).build();
        var cloudWatch = CloudWatchAsyncClient.builder().region(Region.US_EAST_1).credentialsProvider(who).endpointOverride(dynamoAt).build();
        var tracker = new SingleStreamTracker(stream, InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        var configs = new ConfigsBuilder(tracker, app, kinesis, dynamo, cloudWatch, id, Processor::new);
        var leases = configs.leaseManagementConfig();
        leases.failoverTimeMillis(Long.parseLong(args[5]));
        leases.shardSyncIntervalMillis(5000);
        leases.workerUtilizationAwareAssignmentConfig().workerMetricsReporterFreqInMillis(3000);
        var polling = new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200);
        var scheduler = new Scheduler(configs.checkpointConfig(), configs.coordinatorConfig().parentShardPollIntervalMillis(500).shardConsumerDispatchPollIntervalMillis(200), leases,
            configs.lifecycleConfig(), configs.metricsConfig().metricsFactory(new NullMetricsFactory()), configs.processorConfig(), configs.retrievalConfig().retrievalSpecificConfig(polling));
        Thread run = new Thread(scheduler);
        run.setDaemon(true);
        run.start();
        say("started");
        try (Scanner in = new Scanner(System.in)) {
            while (in.hasNextLine()) in.nextLine();
        }
        say("stopped", scheduler.startGracefulShutdown().get(30, TimeUnit.SECONDS));
        System.exit(0);
    }
}
