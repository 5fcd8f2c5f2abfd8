#!/bin/bash
# throughput of W1 and W2 of NEXMARK.md: kafka-all.sh N ; needs a broker at $BS. Results in out/kafka.jsonl
cd "$(dirname "$0")"; mkdir -p out; N=${1:-2000000}; R=$RANDOM; CK=$PWD/tmp/ck$R
./load.sh mk in$R; ./load.sh fill in$R $N 100000 20000
for w in W1 W2; do for g in alo eos; do
  ./load.sh mk o$R$w${g}0 o$R$w${g}1
  timeout 280 ./kjob.sh $w $g $N in$R o$R$w$g $CK rocksdb 2>out/kafka-$w-$g.err | grep workload | tee -a out/kafka.jsonl
  ./load.sh count o$R$w${g}1 | tee -a out/kafka-check.jsonl
done; done
rm -rf $CK
