default_scope = 'mmpretrain'
custom_imports = dict(imports=['apcnn_mm'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The last three epochs and the best one. On data sets without a validation split of
    # their own, such as CUB-200-2011, the best one is the best on the test images:
    # report the last epoch.
    checkpoint=dict(
        type='ResumableCheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='accuracy/top1',
        rule='greater',
    ),
    finite=dict(type='FiniteHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='RGBVisualizationHook', enable=False),
    # Of this package. Here they stay when a config has custom_hooks of its own.
    data_check=dict(type='DataCheckHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    roi_visualization=dict(type='ROIVisualizationHook', interval=10),
    localization_frame=dict(type='LocalizationFrameHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ROIVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=None, deterministic=False)
