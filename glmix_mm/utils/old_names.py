"""Finds the modules of version 0.1.0 under their old names, with a DeprecationWarning.

Configs name some of them in ``custom_imports``, and programs import others.
"""

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec

PACKAGE = __name__.partition('.')[0]
# Old folder -> the room whose own names it had.
FOLDERS = {
    'analysis': 'profiling',
    'datasets': '',
    'engine': '',
    'platform': 'compat',
    'platform.ops': 'compat.ops',
    'visualization': '',
}
# Old module -> the modules that hold its names now.
NEW_NAMES = {
    'analysis.ablate': 'profiling.ablate',
    'analysis.benchmark': 'profiling.benchmark',
    'analysis.contenders': 'profiling.model_list',
    'analysis.counter': 'profiling.counter',
    'analysis.flops': 'profiling.flops',
    'analysis.get_flops': 'profiling.get_flops',
    'analysis.measure': 'profiling.measure',
    'analysis.memory': 'profiling.memory',
    'analysis.plot': 'profiling.plot',
    'analysis.plot_log': 'profiling.plot_log',
    'analysis.report': 'profiling.report',
    'analysis.rounds': 'profiling.timing',
    'analysis.samples': 'profiling.samples',
    'analysis.table': 'profiling.table',
    'analysis.training_step': 'training.step_memory',
    'commands': 'utils.commands',
    'datasets.annotations': 'data.coco_entries',
    'datasets.coco': 'data.coco_checks',
    'datasets.coco_by_name': 'data.coco_by_name',
    'datasets.copies': 'data.copies',
    'datasets.cutouts': 'data.cutouts',
    'datasets.demo': 'data.demo_set',
    'datasets.formats': 'data.formats',
    'datasets.ignored': 'config.ignored_label',
    'datasets.imagefolders': 'data.imagefolder_checks',
    'datasets.labelmaps': 'data.labelmap_checks',
    'datasets.layout': 'data.dataset_checks utils.nested',
    'datasets.limits': 'data.object_limits',
    'datasets.paths': 'data.paths',
    'datasets.shapes': 'data.demo_scenes',
    'datasets.survey': 'data.statistics',
    'datasets.survey_coco': 'data.coco_statistics',
    'datasets.survey_labels': 'data.label_statistics',
    'datasets.tokenlabel_set': 'data.tokenlabel_set',
    'datasets.tokenlabels': 'data.tokenlabels',
    'deploy.check': 'deploy.compare_outputs',
    'engine.amp': 'training.amp',
    'engine.blame': 'training.error_context',
    'engine.check_data': 'data.check_data',
    'engine.checkpoints': 'checkpoints.fit checkpoints.record models.build',
    'engine.classify': 'inference.classify',
    'engine.cli': 'utils.arguments utils.messages cli utils.devices',
    'engine.coco_results': 'inference.coco_results',
    'engine.config': 'config.load_config utils.registry_errors',
    'engine.config_keys': 'config.config_keys utils.messages utils.registry_errors',
    'engine.demo': 'demo',
    'engine.finite': 'training.finite_hook',
    'engine.hardware': 'training.fit_to_gpu',
    'engine.infer': 'inference.infer',
    'engine.interruption': 'training.signals',
    'engine.launch': 'training.runner_setup training.launchers',
    'engine.layer_decay': 'training.layer_decay',
    'engine.list_configs': 'config.list_configs',
    'engine.load': 'inference.load',
    'engine.metrics': 'inference.metrics',
    'engine.official': 'training.official_weights_hook',
    'engine.options': 'config.edits config.data_root config.train_edits utils.nested',
    'engine.own_data': 'data.classes_from_data',
    'engine.predict': 'inference.predict',
    'engine.predict_video': 'inference.predict_video',
    'engine.progress': 'utils.progress',
    'engine.publish': 'deploy.publish',
    'engine.quiet': 'utils.quiet',
    'engine.replay': 'training.exact_loops',
    'engine.resume': 'training.checkpoint_hook',
    'engine.resumed_config': 'training.resumed_config',
    'engine.run_folder': 'training.run_folder',
    'engine.schedule': 'training.schedule',
    'engine.strategies': 'config.process_edits',
    'engine.test': 'inference.test config.test_edits',
    'engine.train': 'training.train',
    'platform.checkpoint': 'checkpoints.safe_reading',
    'platform.compiled_ops': 'compat.compiled_ops',
    'platform.files': 'utils.atomic_files',
    'platform.images': 'utils.image_files',
    'platform.loading': 'data.checked_loading utils.image_files',
    'platform.losses': 'models.cross_entropy',
    'platform.ops.deform_attn': 'compat.ops.deform_attn',
    'platform.ops.deform_conv': 'compat.ops.deform_conv',
    'platform.ops.focal_loss': 'compat.ops.focal_loss',
    'platform.ops.info': 'compat.ops.info',
    'platform.ops.nms': 'compat.ops.nms',
    'platform.ops.precision': 'compat.ops.widen',
    'platform.ops.roi_align': 'compat.ops.roi_align',
    'platform.ops.roi_align_rows': 'compat.ops.roi_align_rows',
    'platform.ops.roi_pool': 'compat.ops.roi_pool',
    'platform.releases': 'checkpoints.released_weights',
    'platform.scoring': 'data.coco_ids',
    'platform.startup': 'compat.startup',
    'platform.states': 'checkpoints.compare_states',
    'platform.storages': 'checkpoints.storages',
    'visualization.fonts': 'inference.fonts',
    'visualization.hook': 'slots.slot_hook',
    'visualization.images': 'utils.pictures',
    'visualization.kmedoids': 'slots.kmedoids',
    'visualization.palette': 'utils.palette',
    'visualization.picture_hook': 'inference.picture_hook',
    'visualization.predictions': 'inference.drawing',
    'visualization.slot_grids': 'slots.compare_grids',
    'visualization.slot_panel': 'slots.slot_panel',
    'visualization.slots': 'slots.assignments',
    'visualization.videos': 'utils.videos',
    'visualization.visualize_slots': 'slots.draw_slots',
}


class OldNames:
    """A finder and loader that gives the names of the new modules, with a warning."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        """Return a spec for the names above and the folders that they were in."""
        package, _, name = fullname.partition('.')
        if package != PACKAGE or name not in (*FOLDERS, *NEW_NAMES):
            return None
        return ModuleSpec(fullname, cls(), is_package=name in FOLDERS)

    def create_module(self, spec):
        """Return a module with the names of the new ones, whose own __spec__ stay as they are."""
        name = spec.name.partition('.')[2]
        new = (NEW_NAMES.get(name) or FOLDERS[name]).split()
        if name in NEW_NAMES:
            told = ' and '.join(f'{PACKAGE}.{part}' for part in new)
            warnings.warn(f'{spec.name} is {told} now', DeprecationWarning, stacklevel=2)
        module = type(sys)(spec.name)
        for part in new:
            found = vars(importlib.import_module(f'{PACKAGE}.{part}')).items()
            module.__dict__.update((key, value) for key, value in found if key[:2] != '__')
        return module

    def exec_module(self, module):
        """Do nothing: what the new names import has run."""


def install() -> None:
    """Let the old names be imported."""
    if OldNames not in sys.meta_path:
        sys.meta_path.append(OldNames)
