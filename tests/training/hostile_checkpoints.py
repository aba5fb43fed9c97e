"""Cases of checkpoints: code, damage, wrong content, bombs. A row of a table is a case.

A row has: what the file is, the ways in, a word of the message (or how it is handled), and what
makes the file.
"""

import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections import OrderedDict

import torch
from hostile_bench import REFUSED, Case, handled, refused, sent

NAME = 'odd.pth'
UNREADABLE = f'{NAME}: not a readable checkpoint'
WAYS = 'pretrained, resume, load_from, test, predict'
LOADED = 'pretrained, resume, test, predict'


def cases() -> list[Case]:
    """Return all cases of checkpoints."""
    return [
        *refused('code', NAME, code()),
        *refused('damage', NAME, damage()),
        *refused('weights', NAME, weights()),
        *handled('weights', NAME, converted()),
        *refused('records', NAME, records()),
        *numbers_of_classes(),
        *handled('records', NAME, passed_over()),
        *refused('bombs', NAME, bombs()),
        Case('bombs', 'a list in a list, 100,000 times', 'read', 'read', nested),
        *refused('archives', NAME, archives()),
        *handled('archives', NAME, [FOLLOWED]),
        *refused('strangers', NAME, strangers()),
        *handled('strangers', NAME, [('a sound file', 'test', 'read', saved(ordered))]),
        *refused('strangers', NAME, paths()),
    ]


def written(data):
    """Make a file of these bytes, or of what a function makes of the bench."""
    return lambda bench, path: path.write_bytes(data(bench) if callable(data) else data) and None


def changed(change):
    """Make a file of a sound checkpoint's bytes, changed."""
    return written(lambda bench: change(bench.sound))


def saved(value):
    """Save what a function makes of the bench."""
    return lambda bench, path: torch.save(value(bench), path)


def replaced(**entries):
    """Save the sound content with other entries."""
    return saved(lambda bench: dict(bench.content, **entries))


# Calls of functions.


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


def archive(data: bytes, extra=(), compression=zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive as torch saves it around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as file:
        parts = (('data.pkl', data), ('version', b'3\n'), ('byteorder', b'little'), *extra)
        for name, value in parts:
            file.writestr(f'archive/{name}', value)
    return buffer.getvalue()


def legacy(value) -> bytes:
    """Return a file as torch saved it before 1.6."""
    head = (0x1950A86A20F9469CFC6C, 1001, dict(little_endian=True))
    head = b''.join(pickle.dumps(part, 2) for part in head)
    return head + pickled(value) + pickle.dumps([], 2)


# Functions, and arguments with which each would make the file whose path takes the place of PATH.
CALLS = [
    ('os.system posix.system nt.system os.popen', 'touch PATH'),
    ('os.mkdir pathlib.Path.touch shutil.rmtree runpy.run_path ctypes.CDLL', 'PATH'),
    ('torch.load torch.serialization.load torch.jit.load torch.ops.load_library', 'PATH'),
    ('numpy.load webbrowser.open mmengine.config.Config.fromfile', 'PATH'),
    ('mmengine.utils.mkdir_or_exist', 'PATH'),
    ('os.execvp', 'touch', ['touch', 'PATH']),
    ('subprocess.Popen subprocess.check_output', ['touch', 'PATH']),
    ('builtins.eval builtins.exec __builtin__.eval timeit.timeit', "open('PATH', 'w')"),
    ('builtins.compile', "open('PATH', 'w')", 'x', 'exec'),
    ('builtins.open io.open _io.FileIO', 'PATH', 'w'),
    ('builtins.__import__ importlib.import_module', 'antigravity'),
    ('builtins.getattr', dict, 'fromkeys'),
    ('builtins.setattr', 'x', 'y', 1),
    ('builtins.map', print, ['x']),
    ('builtins.exit sys.exit', 3),
    ('pickle.loads _pickle.loads', pickle.dumps(1)),
    ('torch.hub.load', 'PATH', 'x'),
    ('numpy.save', 'PATH', 1),
    ('socket.socket code.InteractiveInterpreter types.FunctionType',),
    ('operator.attrgetter operator.methodcaller', 'x'),
    ('functools.partial', print),
    ('mmengine.fileio.put_text', 'x', 'PATH'),
    ('glmix_mm.utils.atomic_files.write_atomically', 'PATH', b'x'),
]
PLACES = {
    '': lambda call: {'state_dict': call},
    ' at the top': lambda call: call,
    ' among the weights': lambda call: {'state_dict': {'w': call}},
    ' as a key': lambda call: {call: 1},
    ' in meta': lambda call: {'meta': call},
    ' in the optimizer': lambda call: {'optimizer': {'state': [call]}},
    ' in the log': lambda call: {'message_hub': {'log_scalars': (call,)}},
}


def code():
    """A call of each of many functions, and one call in each place and kind of file."""

    def put_path(value, trace):
        if isinstance(value, str):
            return value.replace('PATH', trace)
        return [put_path(part, trace) for part in value] if isinstance(value, list) else value

    def calling(name, *args, place='', write=lambda value: archive(pickled(value))):
        def make(bench, path):
            trace = str(bench.trace(path))
            call = Call(name, *(put_path(arg, trace) for arg in args))
            path.write_bytes(write(PLACES[place](call)))

        return make

    word = 'refused: it contains'
    for names, *args in CALLS:
        for name in names.split():
            yield f'call of {name}', 'read', word, calling(name, *args)
    what, system = 'call of os.system', ('os.system', 'touch PATH')
    yield what, WAYS, word, calling(*system)
    for place in PLACES:
        if place:
            yield what + place, 'read', word, calling(*system, place=place)
    yield f'{what} in a legacy file', 'read', word, calling(*system, write=legacy)
    for protocol in (2, 0, 4, 5):
        kind = f' of protocol {protocol}' if protocol != 2 else ''
        write = lambda value, protocol=protocol: pickled(value, protocol)  # noqa: E731
        # Torch can't read those of other protocols at all.
        made = calling(*system, write=write)
        yield f'{what} in a plain pickle{kind}', 'read', '' if kind else word, made


# Damage.


def flipped(find):
    """Make a sound checkpoint with one bit changed, in the byte that is found."""

    def change(data):
        changed = bytearray(data)
        changed[find(data)] ^= 1 << random.Random(len(data)).randrange(8)
        return bytes(changed)

    return changed(change)


def within(name, share):
    """Find a byte in an archive's record."""

    def find(data):
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entry = next(e for e in file.infolist() if e.filename.endswith(name))
        lengths = struct.unpack_from('<HH', data, entry.header_offset + 26)
        start = entry.header_offset + 30 + sum(lengths)  # after its name and padding
        return start + int(share * (entry.file_size - 1))

    return find


def damage():
    """Truncated and changed files."""

    def cut(part, data):
        return data[: part if isinstance(part, int) else int(len(data) * part)]

    def old(bench):
        buffer = io.BytesIO()
        torch.save(bench.content, buffer, _use_new_zipfile_serialization=False)
        return buffer.getvalue()

    for part in (0, 1, 4, 30, 0.25, 0.5, 0.75, 0.9, 0.99, -22, -1):
        what = f'cut off after {part:.0%}' if isinstance(part, float) else f'cut at byte {part}'
        yield what, 'read', UNREADABLE, changed(lambda data, part=part: cut(part, data))
    for part in (1, 100, 0.5, 0.99):
        make = written(lambda bench, part=part: cut(part, old(bench)))
        yield f'legacy file cut at {part}', 'read', UNREADABLE, make
    yield 'cut off after 50%', WAYS, UNREADABLE, changed(lambda data: cut(0.5, data))
    for share in (0, 0.1, 0.5, 0.9, 1):
        for record in ('data.pkl', 'data/6', 'data/20'):
            what = f'a bit changed at {share:.0%} of {record}'
            yield what, 'read', UNREADABLE, flipped(within(record, share))
    for name, find in {
        'the directory': lambda data: data.index(b'PK\x01\x02') + 20,
        'the end record': lambda data: data.rindex(b'PK\x05\x06') + 2,
        'a local header': lambda data: data.index(b'PK\x03\x04') + 1,
    }.items():
        yield f'a bit changed in {name}', 'read', UNREADABLE, flipped(find)
    for fill in (b'\0', b'\xff', b'<html>Not found</html>'):
        what = f'1000 bytes of {fill[:6]!r}'
        yield what, 'read', UNREADABLE, written((fill * 1000)[:1000])


# Weights.

KEY = 'stages.0.embed.0.weight'
KEYLESS = torch.ones(1)
NAN, INF = float('nan'), float('inf')


def with_weight(change, key=f'backbone.{KEY}'):
    """Save the sound content with one weight changed."""

    def value(bench):
        state = bench.content['state_dict']
        return dict(bench.content, state_dict={**state, key: change(state[key])})

    return saved(value)


def named(key):
    """Save the sound content with one more weight."""
    return saved(
        lambda bench: dict(bench.content, state_dict={**bench.content['state_dict'], key: KEYLESS})
    )


def put(index, number):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[index] = number
        return tensor

    return change


def weights():
    """Weights of wrong shapes, types, values and names."""
    changes = {
        'another shape': ('misshapen', lambda w: w[:-1]),
        'one more axis of 2': ('misshapen', lambda w: torch.stack([w, w])),
        'no elements': ('misshapen', lambda w: w[:0]),
        'claims 10^13 elements': ('misshapen', lambda w: torch.zeros(1).expand(10**13)),
        'whole numbers': ('of another type', lambda w: w.long()),
        'truth values': ('of another type', lambda w: w > 0),
        'complex numbers': ('of another type', lambda w: w.to(torch.complex64)),
        'sparse': ('of another type', lambda w: w.to_sparse()),
        'quantised': (
            'of another type',
            lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
        ),
        'without values (meta)': ('of another type', lambda w: w.to('meta')),
        'one NaN': ('', put(5, NAN)),
        'all NaN': ('', lambda w: w * NAN),
        'one infinity': ('', put(0, INF)),
        'float64 beyond float32': ('not finite', lambda w: put(0, 1e300)(w.double())),
    }
    for what, (word, change) in changes.items():
        yield f'a weight: {what}', LOADED, (KEY, word), with_weight(change)
    for what in ('whole numbers', 'one NaN'):
        yield f'a weight: {what}', 'load_from', KEY, with_weight(changes[what][1])
    average = replaced(ema_state_dict={'w': KEYLESS / 0})
    yield 'an average: infinity', 'resume', ('cannot resume', 'ema: w'), average
    statistic = with_weight(put(0, NAN), 'backbone.stages.0.embed.1.running_var')
    yield 'a statistic: NaN', 'test', 'running_var', statistic
    for what, key in {
        'two lines and an escape': 'a\nerror: all is well\x1b[2J',
        'half a character': '\ud800',
        'a million characters': 'k' * 10**6,
    }.items():
        yield f'a name of {what}', 'test', 'unexpected', named(key)
    for key in (1, None, b'w', ('w',)):
        yield f'a name that is {key!r}', 'test', 'no weights', named(key)


def converted():
    """Weights of another floating-point type, and views of one storage."""
    for dtype in (torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float64):
        what = f'a weight in {str(dtype).removeprefix("torch.")}'
        make = with_weight(lambda w, dtype=dtype: w.to(dtype))
        yield what, 'pretrained, test', 'converted to float32', make

    def shared(bench):
        state, numbers = dict(bench.content['state_dict']), torch.zeros(10**6)
        for key, value in state.items():
            if value.is_floating_point():
                state[key] = numbers[: value.numel()].view(value.shape)
        return dict(bench.content, state_dict=state)

    yield 'all in one storage', 'pretrained, resume, test', 'read, each a copy', saved(shared)


# Everything in a checkpoint but its weights' values.


def without(key):
    return saved(lambda bench: {k: v for k, v in bench.content.items() if k != key})


def with_record(**entries):
    """Save the sound content with another record of the data set."""

    def value(bench):
        meta = bench.content['meta']
        return dict(bench.content, meta=dict(meta, dataset_meta=meta['dataset_meta'] | entries))

    return saved(value)


def groups(value):
    return replaced(optimizer=dict(param_groups=value))


def meta(**entries):
    return replaced(meta=dict(dict(epoch=1, iter=1), **entries))


def records():
    """Content that nothing can be loaded or resumed from."""
    for what, value in {
        'a list': [1, 2],
        'a tensor': torch.ones(3),
        'a number': 3,
        'nothing': None,
        'text': 'weights',
    }.items():
        make = saved(lambda bench, value=value: value)
        yield f'holds {what}', 'pretrained', 'no weights', make
        yield f'holds {what}', 'test', 'expected a dict', make
    for what, state in {
        'empty': {},
        'a list': [1],
        'of texts': {'w': 'x'},
        'without names': {1: torch.ones(1)},
        'nested': {'a': {'w': torch.ones(1)}},
        'nothing': None,
    }.items():
        yield f'weights: {what}', LOADED, 'no weights', replaced(state_dict=state)
    param_groups = 'optimizer.param_groups'
    for what, word, make in (
        ('no optimizer', 'optimizer', without('optimizer')),
        ('no log', 'message_hub', without('message_hub')),
        ('no meta', 'meta.epoch', without('meta')),
        ('optimizer: a list', 'optimizer (found list)', replaced(optimizer=[1])),
        ('log: text', 'message_hub (found str)', replaced(message_hub='x')),
        ('meta: a list', 'meta.epoch', replaced(meta=[1])),
        ('iter: text', "meta.iter (found 'x')", meta(iter='x')),
        ('epoch: negative', 'meta.epoch (found -1)', meta(epoch=-1)),
        ('epoch: a tensor', 'meta.epoch', meta(epoch=torch.ones(2))),
        ('epoch: 2^70', 'meta.epoch', meta(epoch=2**70)),
        ('seed: text', "meta.seed (found 'x')", meta(seed='x')),
        ('seed: negative', 'meta.seed (found -3)', meta(seed=-3)),
        ('groups: text', param_groups, groups('x')),
        ('groups: numbers', param_groups, groups([1])),
        ('groups: empty', param_groups, groups([{}])),
        ('groups: a rate that is text', param_groups, groups([dict(params=[0], lr='x')])),
        ('groups: of nothing', param_groups, groups([dict(params=None)])),
    ):
        yield what, 'resume', ('cannot resume', word), make
    for what, info in {
        'a file elsewhere to remove': dict(outdated=['../../precious.pth']),
        'a folder elsewhere to remove': dict(outdated=['/home']),
        'its own folder to remove': dict(outdated=['..']),
        'a number to remove': dict(outdated=3),
        'steps that are paths': dict(keep_ckpt_ids=['/../../precious']),
        'a best checkpoint of no name': dict(best_ckpt=[1]),
        '-5 batches done': dict(done_in_epoch=-5),
        'its progress is text': 'x',
    }.items():
        make = replaced(message_hub=dict(runtime_info=info))
        yield f'log: {what}', 'resume', ('cannot resume', 'message_hub.runtime_info'), make
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
        make = replaced(meta=dict(cfg=text), state_dict={'w': KEYLESS})
        yield f'config: {what}, others', 'test', (f'{NAME} does not fit', 'missing'), make
    others = replaced(meta=dict(dataset_meta=dict(classes=('a', 'b'))))
    yield 'classes: others', 'test', 'was trained for', others


def numbers_of_classes():
    """Records of another number of classes: the message names the config."""
    for count in (3, 10**4):
        words = ('maskrcnn_glnet_nano.py', f'the checkpoint names {count} classes')
        run = sent(NAME, 'predict', with_record(classes=['a'] * count))
        yield Case('records', f'classes: {count:,} of 5', 'predict', REFUSED, run, words)


def passed_over():
    """Records that say nothing, without harm."""
    how = 'the record is passed over'
    for what, entries in {
        'meta: a list': dict(meta=[1]),
        'meta: text': dict(meta='x'),
        'classes: a number': dict(meta=dict(dataset_meta=dict(classes=3))),
        'data set: a list': dict(meta=dict(dataset_meta=[1])),
        'config: 100,000 brackets': dict(meta=dict(cfg='(' * 100_000)),
        'config: not text': dict(meta=dict(cfg=3)),
        'config: calls': dict(meta=dict(cfg="model = __import__('os').system('false')")),
    }.items():
        yield what, 'test', how, replaced(**entries)

    def itself(bench):
        content = dict(bench.content)
        content['meta'] = dict(content['meta'], dataset_meta=content)
        return content

    yield 'holds itself', 'test', how, saved(itself)
    for what, ways, entries in (
        ('classes: numbers', 'resume, predict', dict(classes=[1, 2, 3, 4, 5])),
        ('classes: text', 'resume, predict', dict(classes='abcde')),
        ('classes: tensors', 'resume, predict', dict(classes=[torch.ones(2)] * 5)),
        ('palette: a number', 'predict', dict(palette=7)),
        ('palette: numbers', 'predict', dict(palette=[1] * 5)),
        ('palette: of texts', 'predict', dict(palette=[['red'] * 3] * 5)),
        ('palette: beyond a byte', 'predict', dict(palette=[(1e9, 2, 3)] * 5)),
    ):
        yield what, ways, how, with_record(**entries)


# Small files that claim to be large.


def nested(bench):
    path = bench.path(NAME)
    path.write_bytes(archive(b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.'))
    content = bench.read(path)
    assert isinstance(content, list)
    while content:  # freed level by level
        content = content[0]


def bombs():
    """Archives and storages that would take much memory."""

    def overlapping():
        data = bytearray(archive(pickled({}), [(f'data/{i:04}', b'') for i in range(100)]))
        start = 0
        while (start := data.find(b'PK\x01\x02', start)) >= 0:  # each entry claims 100 MB
            data[start + 20 : start + 28] = struct.pack('<II', 10**8, 10**8)
            start += 4
        return bytes(data)

    def claims(numel):
        """Make a storage that claims more numbers than its record has."""

        def make(bench, path):
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

        return make

    word = 'refused: it is an archive of'
    for size in (10**6, 10**8):
        make = lambda bench, size=size: archive(  # noqa: E731
            pickled({}), [('data/0', bytes(size))], zipfile.ZIP_DEFLATED
        )
        yield f'{size:,} zeros, compressed', 'read', word, written(make)
    yield 'entries that claim 10 GB', 'read', word, written(overlapping())
    for numel in (11, 10**6, 10**12, 2**62):
        what = f'a tensor of 10 numbers that claims {numel:.1e}'
        yield what, 'read', UNREADABLE, claims(numel)
    array = archive(pickled({'state_dict': Call('builtins.bytearray', 10**15)}))
    yield 'a bytearray of 10^15', 'read', '', written(array)


# Zip archives that are not as torch writes them.

FOLLOWED = ('bytes after it', 'test', 'what follows is passed over', changed(lambda d: d + b'more'))


def archives():
    """Archives with other records, and of other things."""

    def rewritten(more='', **changes):
        """Make a sound checkpoint whose records are changed, or added to."""

        def make(bench, path):
            with (
                zipfile.ZipFile(io.BytesIO(bench.sound)) as old,
                zipfile.ZipFile(path, 'w') as new,
            ):
                for name in old.namelist():
                    new.writestr(name, changes.get(name.split('/')[-1], old.read(name)))
                if more:
                    new.writestr(more.replace('ROOT', old.namelist()[0].split('/')[0]), b'more')

        return make

    def encrypted(data):
        changed = bytearray(data)
        changed[changed.index(b'PK\x01\x02') + 8] |= 1
        return bytes(changed)

    def script(bench, path):
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))

    twice = 'two entries of the same name'
    module = 'refused: it contains torch.nn.modules.linear.Linear'
    return [
        ('its pickle twice', 'test', twice, rewritten('ROOT/data.pkl')),
        ('a weight twice', 'test', twice, rewritten('ROOT/data/6')),
        ('an entry ../../evil', 'test', UNREADABLE, rewritten('../../evil')),
        ('an entry /tmp/evil', 'test', UNREADABLE, rewritten('/tmp/evil')),
        ('byte order unknown', 'test', UNREADABLE, rewritten(byteorder=b'middle')),
        ('byte order no text', 'test', UNREADABLE, rewritten(byteorder=b'\xff')),
        ('version 10^10', 'test', UNREADABLE, rewritten(version=b'9999999999')),
        ('version no number', 'test', UNREADABLE, rewritten(version=b'x')),
        ('a script before it', 'test', UNREADABLE, changed(lambda data: b'#!/bin/sh\n' + data)),
        ('encrypted', 'read', UNREADABLE, changed(encrypted)),
        ('TorchScript', 'read', UNREADABLE, script),
        ('a whole module', 'read', module, saved(lambda bench: torch.nn.Linear(2, 2))),
    ]


# Files that are something else, and paths that are of no file.


def ordered(bench):
    return dict(bench.content, state_dict=OrderedDict(bench.content['state_dict']))


def strangers():
    """Files that are something else."""

    def packed(mode):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as file:
            file.addfile(tarfile.TarInfo('weights'))
        return buffer.getvalue()

    def zipped():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w') as file:
            file.writestr('readme.txt', 'nothing here')
        return buffer.getvalue()

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
        yield what, 'read', UNREADABLE, written(data)


def paths():
    """Paths that are of no file."""
    word = 'no such checkpoint file'
    long = lambda bench, path: path.with_name(f'{"a" * 300}{NAME}')  # noqa: E731
    return [
        ('a folder', 'read', f'{NAME}: no such', lambda bench, path: path.mkdir()),
        ('a pipe', 'read', word, lambda bench, path: os.mkfifo(path)),
        ('a link to itself', 'read', word, lambda bench, path: path.symlink_to(path)),
        ('a name of 300 letters', 'read', word, long),
        ('a device', 'read', word, lambda bench, path: path.symlink_to('/dev/zero')),
    ]
