# GLNet-nano, trained from scratch; channels of its outputs at strides 4, 8, 16, 32.
glnet = dict(type='GLNet', arch='nano')
glnet_channels = [32, 64, 128, 192]
