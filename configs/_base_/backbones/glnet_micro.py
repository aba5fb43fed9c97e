# GLNet-4G's blocks in few channels and stages of few blocks, for training from scratch on small
# sets; channels of its outputs at strides 4, 8, 16, 32.
glnet_channels = [32, 64, 160, 256]
glnet = dict(type='GLNet', arch=dict(base='4g', channels=glnet_channels, depths=(2, 2, 6, 2)))
