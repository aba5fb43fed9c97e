"""Cases of checkpoints: code, damage, wrong content, bombs."""

import collections
import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import torch
from hostile_bench import REFUSED, Case

WAYS = ('read', 'pretrained', 'resume', 'load_from', 'test', 'predict')


def cases() -> list[Case]:
    """Return all cases of checkpoints."""
    return [
        *code(),
        *damage(),
        *content(),
        *names(),
        *records(),
        *bombs(),
        *archives(),
        *strangers(),
        *paths(),
    ]


class Call:
    """Pickles as a call of a function, by its name, which need not exist here."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Pickler(pickle._Pickler):
    """Writes a call of any global, and tensors as they are not needed here."""

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Call):
            return super().save(obj, save_persistent_id)
        module, _, name = obj.name.rpartition('.')
        if self.proto >= 4:
            super().save(module)
            super().save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(b'c' + f'{module}\n{name}\n'.encode())
        super().save(obj.args)
        self.write(pickle.REDUCE)


def pickled(value, protocol=2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def archive(path, data: bytes, extra=(), compression=zipfile.ZIP_STORED):
    """Write a zip archive as torch saves it around a pickle."""
    with zipfile.ZipFile(path, 'w', compression) as file:
        for name, value in (('data.pkl', data), ('version', b'3\n'), ('byteorder', b'little')):
            file.writestr(f'archive/{name}', value)
        for name, value in extra:
            file.writestr(f'archive/{name}', value)


# What each call would do, if it were run: make the file whose path takes the place of PATH.
CALLS = [
    ('os.system', 'touch PATH'),
    ('posix.system', 'touch PATH'),
    ('nt.system', 'touch PATH'),
    ('os.popen', 'touch PATH'),
    ('os.mkdir', 'PATH'),
    ('os.execvp', 'touch', ['touch', 'PATH']),
    ('subprocess.Popen', ['touch', 'PATH']),
    ('subprocess.check_output', ['touch', 'PATH']),
    ('builtins.eval', "open('PATH', 'w')"),
    ('builtins.exec', "open('PATH', 'w')"),
    ('__builtin__.eval', "open('PATH', 'w')"),
    ('builtins.open', 'PATH', 'w'),
    ('builtins.compile', "open('PATH', 'w')", 'x', 'exec'),
    ('builtins.__import__', 'antigravity'),
    ('builtins.getattr', dict, 'fromkeys'),
    ('builtins.setattr', 'x', 'y', 1),
    ('builtins.map', print, ['x']),
    ('builtins.exit', 3),
    ('sys.exit', 3),
    ('io.open', 'PATH', 'w'),
    ('_io.FileIO', 'PATH', 'w'),
    ('pathlib.Path.touch', 'PATH'),
    ('shutil.rmtree', 'PATH'),
    ('importlib.import_module', 'antigravity'),
    ('runpy.run_path', 'PATH'),
    ('pickle.loads', pickle.dumps(1)),
    ('_pickle.loads', pickle.dumps(1)),
    ('torch.load', 'PATH'),
    ('torch.serialization.load', 'PATH'),
    ('torch.hub.load', 'PATH', 'x'),
    ('torch.jit.load', 'PATH'),
    ('torch.ops.load_library', 'PATH'),
    ('numpy.load', 'PATH'),
    ('numpy.save', 'PATH', 1),
    ('ctypes.CDLL', 'PATH'),
    ('socket.socket',),
    ('webbrowser.open', 'PATH'),
    ('timeit.timeit', "open('PATH', 'w')"),
    ('code.InteractiveInterpreter',),
    ('operator.attrgetter', 'x'),
    ('operator.methodcaller', 'x'),
    ('functools.partial', print),
    ('types.FunctionType',),
    ('mmengine.config.Config.fromfile', 'PATH'),
    ('mmengine.fileio.put_text', 'x', 'PATH'),
    ('mmengine.utils.mkdir_or_exist', 'PATH'),
    ('glmix_mm.utils.atomic_files.write_atomically', 'PATH', b'x'),
]


def put_path(value, trace):
    if isinstance(value, str):
        return value.replace('PATH', str(trace))
    return [put_path(part, trace) for part in value] if isinstance(value, list) else value


def code():
    """A call of each of many functions, and one call in each place and kind of file."""

    def zipped(path, value):
        archive(path, pickled(value))

    def plain(protocol):
        return lambda path, value: path.write_bytes(pickled(value, protocol))

    def legacy(path, value):
        head = b''.join(
            pickle.dumps(part, 2)
            for part in (0x1950A86A20F9469CFC6C, 1001, dict(little_endian=True))
        )
        path.write_bytes(head + pickled(value) + pickle.dumps([], 2))

    def run_with(call, write, place, way):
        def run(bench):
            path, trace = bench.path('evil.pth'), bench.path('trace')
            name, *args = call
            write(path, place(Call(name, *(put_path(arg, trace) for arg in args))))
            try:
                getattr(bench, way)(path)
            finally:
                assert not trace.exists(), f'{name} was run'

        return run

    def case(what, call, write=zipped, place=lambda call: {'state_dict': call}, way='read'):
        words = ('evil.pth', 'refused, for it holds')
        return Case('code', what, way, REFUSED, run_with(call, write, place, way), words)

    for call in CALLS:
        yield case(f'call of {call[0]}', call)
    system = CALLS[0]
    for way in WAYS[1:]:
        yield case(f'call of {system[0]}', system, way=way)
    places = {
        'at the top': lambda call: call,
        'among the weights': lambda call: {'state_dict': {'w': call}},
        'as a key': lambda call: {call: 1},
        'in meta': lambda call: {'meta': call},
        'in the optimizer': lambda call: {'optimizer': {'state': [call]}},
        'in the log': lambda call: {'message_hub': {'log_scalars': (call,)}},
    }
    for where, place in places.items():
        yield case(f'call of {system[0]} {where}', system, place=place)
    for name, write in {'a legacy file': legacy, 'a plain pickle': plain(2)}.items():
        yield case(f'call of {system[0]} in {name}', system, write=write)
    # Torch can't read these at all.
    for protocol in (0, 4, 5):
        run = run_with(system, plain(protocol), lambda call: {'state_dict': call}, 'read')
        what = f'call of {system[0]} in a plain pickle of protocol {protocol}'
        yield Case('code', what, 'read', REFUSED, run, ('evil.pth',))


def damage():
    """Truncated and changed files."""

    def cut(part, data):
        keep = part if isinstance(part, int) else int(len(data) * part)
        return data[:keep]

    def broken(change, way='read', legacy=False):
        def run(bench):
            data = bench.sound
            if legacy:
                buffer = io.BytesIO()
                torch.save(bench.content, buffer, _use_new_zipfile_serialization=False)
                data = buffer.getvalue()
            path = bench.path('broken.pth')
            path.write_bytes(change(data))
            return getattr(bench, way)(path)

        return run

    words = ('broken.pth: not a readable checkpoint',)
    for part in (0, 1, 4, 30, 0.25, 0.5, 0.75, 0.9, 0.99, -22, -1):
        what = f'cut off after {part:.0%}' if isinstance(part, float) else f'cut at byte {part}'
        run = broken(lambda data, part=part: cut(part, data))
        yield Case('damage', what, 'read', REFUSED, run, words)
    for part in (1, 100, 0.5, 0.99):
        what = f'legacy file cut at {part}'
        run = broken(lambda data, part=part: cut(part, data), legacy=True)
        yield Case('damage', what, 'read', REFUSED, run, words)
    for way in WAYS[1:]:
        run = broken(lambda data: data[: len(data) // 2], way)
        yield Case('damage', 'cut off after 50%', way, REFUSED, run, words)

    def flip(position):
        def change(data):
            changed = bytearray(data)
            changed[position(data)] ^= 1 << random.Random(len(data)).randrange(8)
            return bytes(changed)

        return change

    def within(name, share):
        """Return the place of a byte in an archive's record."""

        def position(data):
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                entry = next(e for e in file.infolist() if e.filename.endswith(name))
            lengths = struct.unpack_from('<HH', data, entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(lengths)  # after its name and padding
            return start + int(share * (entry.file_size - 1))

        return position

    for share in (0, 0.1, 0.5, 0.9, 1):
        for record in ('data.pkl', 'data/6', 'data/20'):
            run = broken(flip(within(record, share)))
            what = f'a bit changed at {share:.0%} of {record}'
            yield Case('damage', what, 'read', REFUSED, run, words)
    for name, find in {
        'the directory': lambda data: data.index(b'PK\x01\x02') + 20,
        'the end record': lambda data: data.rindex(b'PK\x05\x06') + 2,
        'a local header': lambda data: data.index(b'PK\x03\x04') + 1,
    }.items():
        run = broken(flip(find))
        yield Case('damage', f'a bit changed in {name}', 'read', REFUSED, run, words)
    for fill in (b'\0', b'\xff', b'<html>Not found</html>'):
        run = broken(lambda data, fill=fill: (fill * 1000)[:1000])
        yield Case('damage', f'1000 bytes of {fill[:6]!r}', 'read', REFUSED, run, words)


def saved(value):
    """Return a function that saves what ``value(bench)`` returns and sends it in."""

    def via(way):
        def run(bench):
            path = bench.path('wrong.pth')
            torch.save(value(bench), path)
            return getattr(bench, way)(path)

        return run

    return via


def with_weight(change, key='backbone.stages.0.embed.0.weight'):
    """Return the sound content with one weight changed."""

    def value(bench):
        state = dict(bench.content['state_dict'])
        state[key] = change(state[key])
        return dict(bench.content, state_dict=state)

    return value


def put(index, number):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[index] = number
        return tensor

    return change


KEY = 'stages.0.embed.0.weight'
KEYLESS = torch.ones(1)


def content():
    """Weights of wrong shapes, types and values, in every way in that loads them."""
    changes = {
        'another shape': (lambda w: w[:-1], 'misshapen'),
        'one more axis of 2': (lambda w: torch.stack([w, w]), 'misshapen'),
        'no elements': (lambda w: w[:0], 'misshapen'),
        'claims 10^13 elements': (lambda w: torch.zeros(1).expand(10**13), 'misshapen'),
        'whole numbers': (lambda w: w.long(), 'of another type'),
        'truth values': (lambda w: w > 0, 'of another type'),
        'complex numbers': (lambda w: w.to(torch.complex64), 'of another type'),
        'sparse': (lambda w: w.to_sparse(), 'of another type'),
        'quantised': (
            lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
            'of another type',
        ),
        'without values (meta)': (lambda w: w.to('meta'), 'of another type'),
        'one NaN': (put(5, float('nan')), 'not finite'),
        'all NaN': (lambda w: w * float('nan'), 'not finite'),
        'one infinity': (put(0, float('inf')), 'not finite'),
        'float64 beyond float32': (lambda w: put(0, 1e300)(w.double()), 'not finite'),
    }
    for what, (change, word) in changes.items():
        for way in ('pretrained', 'resume', 'test', 'predict'):
            run = saved(with_weight(change))(way)
            words = ('wrong.pth', KEY)
            if 'NaN' not in what and 'infinity' not in what:
                words = (*words, word)
            yield Case('weights', f'a weight: {what}', way, REFUSED, run, words)
    for what in ('whole numbers', 'one NaN'):
        change, word = changes[what]
        run = saved(with_weight(change))('load_from')
        yield Case('weights', f'a weight: {what}', 'load_from', REFUSED, run, ('wrong.pth', KEY))
    for dtype in (torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float64):
        name = str(dtype).removeprefix('torch.')
        for way in ('pretrained', 'test'):
            run = saved(with_weight(lambda w, dtype=dtype: w.to(dtype)))(way)
            yield Case('weights', f'a weight in {name}', way, 'converted to float32', run)
    average = saved(lambda bench: dict(bench.content, ema_state_dict={'w': KEYLESS / 0}))
    words = ('wrong.pth', 'cannot resume', 'ema: w')
    yield Case('weights', 'an average: infinity', 'resume', REFUSED, average('resume'), words)
    key = 'backbone.stages.0.embed.1.running_var'
    run = saved(with_weight(put(0, float('nan')), key))('test')
    yield Case('weights', 'a statistic: NaN', 'test', REFUSED, run, ('wrong.pth', 'running_var'))


def names():
    """Weights under strange names, and views of one another."""

    def named(key):
        def value(bench):
            return dict(bench.content, state_dict={**bench.content['state_dict'], key: KEYLESS})

        return value

    for what, key in {
        'two lines and an escape': 'a\nerror: all is well\x1b[2J',
        'half a character': '\ud800',
        'a million characters': 'k' * 10**6,
    }.items():
        run = saved(named(key))('test')
        words = ('wrong.pth', 'unexpected')
        yield Case('weights', f'a name of {what}', 'test', REFUSED, run, words)
    for key in (1, None, b'w', ('w',)):
        run = saved(named(key))('test')
        yield Case(
            'weights', f'a name that is {key!r}', 'test', REFUSED, run, ('wrong.pth', 'no weights')
        )

    def shared(bench):
        state, numbers = dict(bench.content['state_dict']), torch.zeros(10**6)
        for key, value in state.items():
            if value.is_floating_point():
                state[key] = numbers[: value.numel()].view(value.shape)
        return dict(bench.content, state_dict=state)

    for way in ('pretrained', 'resume', 'test'):
        run = saved(shared)(way)
        yield Case('weights', 'all in one storage', way, 'read, each a copy', run)


def replaced(**entries):
    def value(bench):
        return dict(
            bench.content, **{k: v(bench) if callable(v) else v for k, v in entries.items()}
        )

    return value


def with_record(bench, entries):
    """Return the sound content with another record of the data set."""
    meta = bench.content['meta']
    return dict(bench.content, meta=dict(meta, dataset_meta=dict(meta['dataset_meta'], **entries)))


def without(*keys):
    return lambda bench: {k: v for k, v in bench.content.items() if k not in keys}


def records():
    """Everything in a checkpoint but its weights' values."""
    no_weights = ('wrong.pth', 'no weights')
    for what, value in {
        'a list': lambda bench: [1, 2],
        'a tensor': lambda bench: torch.ones(3),
        'a number': lambda bench: 3,
        'nothing': lambda bench: None,
        'text': lambda bench: 'weights',
    }.items():
        run = saved(value)('pretrained')
        yield Case('records', f'holds {what}', 'pretrained', REFUSED, run, no_weights)
        run = saved(value)('test')
        yield Case(
            'records', f'holds {what}', 'test', REFUSED, run, ('wrong.pth', 'expected a dict')
        )
    for what, state in {
        'empty': {},
        'a list': [1],
        'of texts': {'w': 'x'},
        'without names': {1: torch.ones(1)},
        'nested': {'a': {'w': torch.ones(1)}},
        'nothing': None,
    }.items():
        for way in ('test', 'resume', 'pretrained', 'predict'):
            run = saved(replaced(state_dict=state))(way)
            yield Case('records', f'weights: {what}', way, REFUSED, run, no_weights)
    for what, entries, word in (
        ('no optimizer', without('optimizer'), 'optimizer'),
        ('no log', without('message_hub'), 'message_hub'),
        ('no meta', without('meta'), 'meta.epoch'),
        ('optimizer: a list', replaced(optimizer=[1]), 'optimizer (found list)'),
        ('log: text', replaced(message_hub='x'), 'message_hub (found str)'),
        ('meta: a list', replaced(meta=[1]), 'meta.epoch'),
        ('iter: text', replaced(meta=dict(epoch=1, iter='x')), "meta.iter (found 'x')"),
        ('epoch: negative', replaced(meta=dict(epoch=-1, iter=1)), 'meta.epoch (found -1)'),
        ('epoch: a tensor', replaced(meta=dict(epoch=torch.ones(2), iter=1)), 'meta.epoch'),
        ('epoch: 2^70', replaced(meta=dict(epoch=2**70, iter=1)), 'meta.epoch'),
        ('seed: text', replaced(meta=dict(epoch=1, iter=1, seed='x')), "meta.seed (found 'x')"),
        ('seed: negative', replaced(meta=dict(epoch=1, iter=1, seed=-3)), 'meta.seed (found -3)'),
        ('groups: text', replaced(optimizer=dict(param_groups='x')), 'optimizer.param_groups'),
        ('groups: numbers', replaced(optimizer=dict(param_groups=[1])), 'optimizer.param_groups'),
        ('groups: empty', replaced(optimizer=dict(param_groups=[{}])), 'optimizer.param_groups'),
        (
            'groups: a rate that is text',
            replaced(optimizer=dict(param_groups=[dict(params=[0], lr='x')])),
            'optimizer.param_groups',
        ),
        (
            'groups: of nothing',
            replaced(optimizer=dict(param_groups=[dict(params=None)])),
            'optimizer.param_groups',
        ),
    ):
        run = saved(entries)('resume')
        yield Case('records', what, 'resume', REFUSED, run, ('wrong.pth', 'cannot resume', word))
    harmless = {
        'meta: a list': dict(meta=[1]),
        'meta: text': dict(meta='x'),
        'classes: a number': dict(meta=dict(dataset_meta=dict(classes=3))),
        'data set: a list': dict(meta=dict(dataset_meta=[1])),
        'config: 100,000 brackets': dict(meta=dict(cfg='(' * 100_000)),
        'config: not text': dict(meta=dict(cfg=3)),
        'config: calls': dict(meta=dict(cfg="model = __import__('os').system('false')")),
    }
    for what, entries in harmless.items():
        run = saved(replaced(**entries))('test')
        yield Case('records', what, 'test', 'the record is passed over', run)
    # Where the weights do not fit, the config is read for the message.
    for what, text in {
        'text': 'x =',
        '100,000 brackets': '(' * 100_000,
        'not text': 3,
        'calls': "model = __import__('os').system('false')",
        '150 dicts in dicts': f'model = {"dict(a=" * 150}1{")" * 150}',
        '150 lists in lists': f'model = dict(a={"[" * 150}{"]" * 150})',
        '900 names of names': f'a{".b" * 900} = 1',
        'a model that is a list': 'model = [1]',
        'types that are none': 'model = dict(type=[3], backbone=dict(type=dict(a=1), arch=b""))',
    }.items():
        change = saved(replaced(meta=dict(cfg=text), state_dict={'w': KEYLESS}))
        words = ('wrong.pth does not fit', 'missing')
        yield Case('records', f'config: {what}, others', 'test', REFUSED, change('test'), words)

    for what, info in {
        'log: a file elsewhere to remove': dict(outdated=['../../precious.pth']),
        'log: a folder elsewhere to remove': dict(outdated=['/home']),
        'log: its own folder to remove': dict(outdated=['..']),
        'log: a number to remove': dict(outdated=3),
        'log: steps that are paths': dict(keep_ckpt_ids=['/../../precious']),
        'log: a best checkpoint of no name': dict(best_ckpt=[1]),
        'log: -5 batches done': dict(done_in_epoch=-5),
        'log: its progress is text': 'x',
    }.items():
        run = saved(replaced(message_hub=dict(runtime_info=info)))('resume')
        words = ('wrong.pth', 'cannot resume', 'message_hub.runtime_info')
        yield Case('records', what, 'resume', REFUSED, run, words)

    def itself(bench):
        content = dict(bench.content)
        content['meta'] = dict(content['meta'], dataset_meta=content)
        return content

    yield Case(
        'records', 'holds itself', 'test', 'the record is passed over', saved(itself)('test')
    )
    for what, entries in {
        'classes: numbers': dict(classes=[1, 2, 3, 4, 5]),
        'classes: text': dict(classes='abcde'),
        'classes: tensors': dict(classes=[torch.ones(2)] * 5),
        'palette: a number': dict(palette=7),
        'palette: numbers': dict(palette=[1] * 5),
        'palette: of texts': dict(palette=[['red'] * 3] * 5),
        'palette: beyond a byte': dict(palette=[(1e9, 2, 3)] * 5),
    }.items():
        for way in ('resume', 'predict') if 'classes' in what else ('predict',):
            run = saved(lambda bench, e=entries: with_record(bench, e))(way)
            yield Case('records', what, way, 'the record is passed over', run)
    for count in (3, 10**4):
        run = saved(lambda bench, n=count: with_record(bench, dict(classes=['a'] * n)))('predict')
        words = ('maskrcnn_glnet_nano.py', f'the checkpoint names {count} classes')
        yield Case('records', f'classes: {count:,} of 5', 'predict', REFUSED, run, words)
    run = saved(replaced(meta=dict(dataset_meta=dict(classes=('a', 'b')))))('test')
    yield Case('records', 'classes: others', 'test', REFUSED, run, ('wrong.pth', 'was trained for'))


def bombs():
    """Small files that claim to be large."""

    def zeros(size):
        def run(bench):
            path = bench.path('bomb.pth')
            archive(path, pickled({}), [('data/0', bytes(size))], zipfile.ZIP_DEFLATED)
            return bench.read(path)

        return run

    def overlapping(bench):
        path = bench.path('bomb.pth')
        archive(path, pickled({}), [(f'data/{i:04}', b'') for i in range(100)])
        data = bytearray(path.read_bytes())
        start = 0
        while (start := data.find(b'PK\x01\x02', start)) >= 0:  # each entry claims 100 MB
            data[start + 20 : start + 28] = struct.pack('<II', 10**8, 10**8)
            start += 4
        path.write_bytes(data)
        return bench.read(path)

    refused = ('bomb.pth', 'refused, for it is an archive of')
    for size in (10**6, 10**8):
        yield Case('bombs', f'{size:,} zeros, compressed', 'read', REFUSED, zeros(size), refused)
    yield Case('bombs', 'entries that claim 10 GB', 'read', REFUSED, overlapping, refused)

    def claims(numel):
        """Return a run with a storage that claims more numbers than its record has."""

        def run(bench):
            path = bench.path('bomb.pth')
            torch.save({'w': torch.arange(10.0)}, path)
            with zipfile.ZipFile(path) as file:
                files = {name: file.read(name) for name in file.namelist()}
            name = next(name for name in files if name.endswith('data.pkl'))
            long = b'\x8a\x08' + numel.to_bytes(8, 'little')  # LONG1
            changed = files[name].replace(b'K\ntq', long + b'tq', 1)
            assert changed != files[name]
            files[name] = changed
            with zipfile.ZipFile(path, 'w') as file:
                for name, data in files.items():
                    file.writestr(name, data)
            return bench.read(path)

        return run

    words = ('bomb.pth: not a readable checkpoint',)
    for numel in (11, 10**6, 10**12, 2**62):
        what = f'a tensor of 10 numbers that claims {numel:.1e}'
        yield Case('bombs', what, 'read', REFUSED, claims(numel), words)

    def nested(bench):
        path = bench.path('bomb.pth')
        archive(path, b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.')
        content = bench.read(path)
        assert isinstance(content, list)
        while content:  # freed level by level
            content = content[0]

    yield Case('bombs', 'a list in a list, 100,000 times', 'read', 'read', nested)

    def allocates(name, *args):
        def run(bench):
            path = bench.path('bomb.pth')
            archive(path, pickled({'state_dict': Call(name, *args)}))
            return bench.read(path)

        return run

    run = allocates('builtins.bytearray', 10**15)
    yield Case('bombs', 'a bytearray of 10^15', 'read', REFUSED, run, ('bomb.pth',))


def archives():
    """Zip archives that are not as torch writes them."""

    def rewritten(**changes):
        """Return a run with a sound checkpoint whose records are changed, or added to."""

        def run(bench):
            path = bench.path('archive.pth')
            with (
                zipfile.ZipFile(io.BytesIO(bench.sound)) as old,
                zipfile.ZipFile(path, 'w') as new,
            ):
                for name in old.namelist():
                    new.writestr(name, changes.get(name.split('/')[-1], old.read(name)))
                for name in changes.get('more', ()):
                    new.writestr(name.replace('ROOT', old.namelist()[0].split('/')[0]), b'more')
            return bench.test(path)

        return run

    unreadable = 'archive.pth: not a readable checkpoint'
    for what, changes, word in (
        ('its pickle twice', dict(more=['ROOT/data.pkl']), 'two entries of the same name'),
        ('a weight twice', dict(more=['ROOT/data/6']), 'two entries of the same name'),
        ('an entry ../../evil', dict(more=['../../evil']), unreadable),
        ('an entry /tmp/evil', dict(more=['/tmp/evil']), unreadable),
        ('byte order unknown', dict(byteorder=b'middle'), unreadable),
        ('byte order no text', dict(byteorder=b'\xff'), unreadable),
        ('version 10^10', dict(version=b'9999999999'), unreadable),
        ('version no number', dict(version=b'x'), unreadable),
    ):
        run = rewritten(**changes)
        yield Case('archives', what, 'test', REFUSED, run, ('archive.pth', word))

    def around(before, after):
        def run(bench):
            path = bench.path('archive.pth')
            path.write_bytes(before + bench.sound + after)
            return bench.test(path)

        return run

    run = around(b'#!/bin/sh\n', b'')
    yield Case('archives', 'a script before it', 'test', REFUSED, run, (unreadable,))
    run = around(b'', b'more')
    yield Case('archives', 'bytes after it', 'test', 'what follows is passed over', run)

    def encrypted(bench):
        data = bytearray(bench.sound)
        data[data.index(b'PK\x01\x02') + 8] |= 1
        path = bench.path('archive.pth')
        path.write_bytes(data)
        return bench.read(path)

    yield Case('archives', 'encrypted', 'read', REFUSED, encrypted, (unreadable,))

    def script(bench):
        path = bench.path('archive.pth')
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
        return bench.read(path)

    yield Case('archives', 'TorchScript', 'read', REFUSED, script, (unreadable,))

    def module(bench):
        path = bench.path('archive.pth')
        torch.save(torch.nn.Linear(2, 2), path)
        return bench.read(path)

    words = ('archive.pth', 'refused, for it holds torch.nn.modules.linear.Linear')
    yield Case('archives', 'a whole module', 'read', REFUSED, module, words)


def paths():
    """Paths that are of no file."""

    def pipe(path):
        os.mkfifo(path)
        return path

    def loop(path):
        path.symlink_to(path)
        return path

    for what, make in {
        'a pipe': pipe,
        'a link to itself': loop,
        'a name of 300 letters': lambda path: path.with_name(f'{"a" * 300}none.pth'),
        'a device': lambda path: Path('/dev/zero'),
    }.items():

        def run(bench, make=make):
            return bench.read(make(bench.path('none.pth')))

        words = ('zero' if what == 'a device' else 'none.pth', 'no such checkpoint file')
        yield Case('strangers', what, 'read', REFUSED, run, words)


def strangers():
    """Files that are something else."""

    def written(data):
        def run(bench):
            path = bench.path('stranger.pth')
            path.write_bytes(data)
            return bench.read(path)

        return run

    def packed(suffix):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=suffix) as file:
            file.addfile(tarfile.TarInfo('weights'))
        return buffer.getvalue()

    def zipped():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w') as file:
            file.writestr('readme.txt', 'nothing here')
        return buffer.getvalue()

    words = ('stranger.pth: not a readable checkpoint',)
    for what, data in {
        'text': b'glnet_4g',
        'a web page': b'<!DOCTYPE html><title>Sign in</title>' * 30,
        'json': b'{"state_dict": {}}',
        'a PNG': b'\x89PNG\r\n\x1a\n' + bytes(100),
        'an ELF': b'\x7fELF' + bytes(100),
        'a tar': packed('w:'),
        'a tar.gz': packed('w:gz'),
        'a zip of texts': zipped(),
        'safetensors': struct.pack('<Q', 2) + b'{}',
        'a pickle of numbers': pickle.dumps(list(range(5))),
        'a git-lfs pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n',
    }.items():
        yield Case('strangers', what, 'read', REFUSED, written(data), words)

    def folder(bench):
        path = bench.path('stranger.pth')
        path.mkdir()
        return bench.read(path)

    yield Case('strangers', 'a folder', 'read', REFUSED, folder, ('stranger.pth: no such',))

    def ordered(bench):
        path = bench.path('fine.pth')
        state = collections.OrderedDict(bench.content['state_dict'])
        torch.save(dict(bench.content, state_dict=state), path)
        return bench.test(path)

    yield Case('strangers', 'a sound file', 'test', 'read', ordered)
