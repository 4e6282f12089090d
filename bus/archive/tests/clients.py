"""Reads topics with the Python clients that are installed: clients.py ADDRESS TOPIC…

Each assigns partition 0 of every topic and reads from its beginning; kafka-python also looks a time up and is refused
a write.
"""

import importlib.util
import json
import sys

# Records of a topic that each client reads at most; kcat, which is faster, reads all.
MOST = 20000
HEADERS = ['schema', 'sequence', 'exchange_time_ns', 'publish_time_ns', 'epoch']


def check(what, found, wanted):
    if found != wanted:
        sys.exit(f'clients: {what}: {found!r} where {wanted!r} was due')


class Tally:
    """Checks records as they come: offsets adjoin, headers are there, JSON values are objects."""

    def __init__(self, topic, first):
        self.topic, self.first, self.next, self.sample = topic, first, first, None

    def wants(self, end):
        """Whether there is more to read of a topic that ends at `end`."""
        return self.next < min(end, self.first + MOST)

    def take(self, offset, timestamp, value, headers):
        check(f'{self.topic}: offset', offset, self.next)
        headers = dict(headers)
        check(f'{self.topic}: header sequence', int(headers['sequence']), offset)
        check(f'{self.topic}: headers', list(headers), HEADERS)
        if self.topic.endswith('.json'):
            check(f'{self.topic}: sequence in the value', json.loads(value)['sequence'], offset)
        self.sample = self.sample or (timestamp, offset)
        self.next += 1


def kafka_python(address, topics):
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import TopicAuthorizationFailedError

    for topic in topics:
        partition = TopicPartition(topic, 0)
        consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, consumer_timeout_ms=20000)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        tally = Tally(topic, consumer.beginning_offsets([partition])[partition])
        end = consumer.end_offsets([partition])[partition]
        while tally.wants(end):
            record = next(consumer)
            tally.take(record.offset, record.timestamp, record.value, record.headers)
        if tally.sample:
            found = consumer.offsets_for_times({partition: tally.sample[0]})[partition]
            check(f'{topic}: offset by time', found.offset, tally.sample[1])
        consumer.close()
    producer = KafkaProducer(bootstrap_servers=address, enable_idempotence=False)
    try:
        producer.send(topics[0], b'not of this journal').get(timeout=20)
        sys.exit('clients: a write was taken')
    except TopicAuthorizationFailedError:
        producer.close()


def confluent_kafka(address, topics):
    from confluent_kafka import Consumer, TopicPartition

    for topic in topics:
        # Partition 0 without an offset: the client asks the group that it must name, and then follows its own setting.
        consumer = Consumer({'bootstrap.servers': address, 'group.id': 'clients', 'auto.offset.reset': 'earliest'})
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
        consumer.assign([TopicPartition(topic, 0)])
        tally = Tally(topic, first)
        while tally.wants(end):
            record = consumer.poll(20)
            check(f'{topic}: error', record and record.error(), None)
            check(f'{topic}: a record', record is not None, True)
            tally.take(record.offset(), record.timestamp()[1], record.value(), record.headers())
        consumer.close()


def aiokafka(address, topics):
    import asyncio
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def read(topic):
        partition = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
        await consumer.start()
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        tally = Tally(topic, (await consumer.beginning_offsets([partition]))[partition])
        end = (await consumer.end_offsets([partition]))[partition]
        while tally.wants(end):
            record = await asyncio.wait_for(consumer.getone(), 20)
            tally.take(record.offset, record.timestamp, record.value, record.headers)
        await consumer.stop()

    for topic in topics:
        asyncio.run(read(topic))


def main(address, *topics):
    clients = {'kafka': kafka_python, 'confluent_kafka': confluent_kafka, 'aiokafka': aiokafka}
    installed = {name: run for name, run in clients.items() if importlib.util.find_spec(name)}
    if not installed:
        sys.exit('clients: no Python client is installed: pip install kafka-python')
    for name, run in installed.items():
        run(address, topics)
        print(f'{name}: {len(topics)} topics')


main(*sys.argv[1:])
